"""HTTP protocol that limits connections: in total, per address, and in idle time."""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds in which a client must send a complete request, or read some of a response.
_IDLE_TIMEOUT = 15.0
# Send buffer of a connection in bytes.
_SEND_BUFFER = 1 << 18
#: Largest share of all slots, for connections and for uploads, that one address may occupy.
MAX_SHARE = 0.75


def limited_protocol(
    max_connections: int, idle_timeout: float = _IDLE_TIMEOUT
) -> type[H11Protocol]:
    """Return a uvicorn HTTP protocol that closes surplus and idle connections.

    Without limits, a client that opens enough connections locks out everybody else: by sending
    nothing, by never completing a request, or by not reading the responses. `MAX_SHARE` limits the
    connections of one address. `idle_timeout` is in seconds without a new request or reading.
    """

    class LimitedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            address = _address(self)
            from_address = sum(_address(other) == address for other in self.connections)
            if len(self.connections) > max_connections or (
                from_address > MAX_SHARE * max_connections and not is_local_proxy(address)
            ):
                transport.abort()
                return
            # A small buffer: the system would take megabytes for a client that never reads.
            if (connection := transport.get_extra_info("socket")) is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            self._last_activity, self._last_cycle = self.loop.time(), self.cycle
            self.loop.call_later(idle_timeout / 3, self._check_idle)

        def resume_writing(self) -> None:
            """Count a drained send buffer as activity: slow clients are welcome."""
            super().resume_writing()
            self._last_activity = self.loop.time()

        def _check_idle(self) -> None:
            """Close the connection if it has been idle for too long, else check again later."""
            # None before the first request, despite uvicorn's annotation.
            cycle: object = self.cycle
            responding = cycle is not None and not self.cycle.response_complete
            # Requests in progress and uploads have limits of their own.
            if cycle is not self._last_cycle or (responding and not self.flow.write_paused):
                self._last_activity, self._last_cycle = self.loop.time(), self.cycle
            if self.transport.get_write_buffer_size() == 0 and self.transport.is_closing():
                return
            if self.loop.time() - self._last_activity > idle_timeout:
                # `close` would wait until the client has read the rest.
                self.transport.abort()
            else:
                self.loop.call_later(idle_timeout / 3, self._check_idle)

    return LimitedProtocol


def is_local_proxy(address: str) -> bool:
    """Return whether a reverse proxy on this machine may have sent the request.

    Many clients may share such an address, so the limits per address do not apply.
    """
    return address in ("::1", "::ffff:127.0.0.1") or address.startswith("127.")


def _address(connection: object) -> str:
    client = getattr(connection, "client", None)
    return str(client[0]) if client else ""
