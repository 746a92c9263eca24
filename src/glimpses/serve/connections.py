"""Connections to the server: so many at a time, so many from one address, and none that idles."""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds in which a connection must have asked for something whole, or read what it asked for.
_PATIENCE = 15.0
# Bytes that the system holds for a connection until they are read.
_UNREAD = 1 << 18
#: Share of all places, of connections and of uploads, that one address may have.
SHARE = 0.75


def impatient(most: int, patience: float = _PATIENCE) -> type[H11Protocol]:
    """Uvicorn's HTTP that closes connections beyond `most`, and those that only keep a place.

    Without it, whoever opens enough of them locks everybody out: by silence, by requests that
    never get whole, or by not reading the answers.

    Args:
        most: connections at a time; see `SHARE`.
        patience: seconds without a new request, or without reading, after which one is closed.
    """

    class Impatient(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            address = _address(self)
            own = sum(_address(each) == address for each in self.connections)
            if len(self.connections) > most or (own > SHARE * most and not is_local_proxy(address)):
                transport.abort()
                return
            # Else the system takes in megabytes for whoever asks on and reads nothing.
            if (plug := transport.get_extra_info("socket")) is not None:
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD)
            self._since, self._last = self.loop.time(), self.cycle
            self.loop.call_later(patience / 3, self._look)

        def resume_writing(self) -> None:
            """Much of what was written has been read: slowly is not never."""
            super().resume_writing()
            self._since = self.loop.time()

        def _look(self) -> None:
            """Close the connection if nothing has come of it for too long; else look again."""
            # uvicorn sets it with the first request; its type says it were always there.
            cycle: object = self.cycle
            works = cycle is not None and not self.cycle.response_complete
            # A request that is worked on, or an upload that is read, has limits of its own.
            if cycle is not self._last or (works and not self.flow.write_paused):
                self._since, self._last = self.loop.time(), self.cycle
            if self.transport.get_write_buffer_size() == 0 and self.transport.is_closing():
                return
            if self.loop.time() - self._since > patience:
                # Not `close`, which would wait until what is written has been read.
                self.transport.abort()
            else:
                self.loop.call_later(patience / 3, self._look)

    return Impatient


def is_local_proxy(address: str) -> bool:
    """Whether others may stand behind an address: a proxy is on this machine."""
    return address in ("::1", "::ffff:127.0.0.1") or address.startswith("127.")


def _address(connection: object) -> str:
    client = getattr(connection, "client", None)
    return str(client[0]) if client else ""
