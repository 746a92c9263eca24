"""Connections to the server: so many at a time, and none that stays silent."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds in which a connection must have asked for something.
_SILENT = 15.0


def impatient(most: int) -> type[H11Protocol]:
    """Uvicorn's HTTP that closes connections beyond `most`, and those that ask nothing.

    Without it, whoever opens enough of them and says nothing locks everybody out.
    """

    class Impatient(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
            else:
                self.loop.call_later(_SILENT, self._leave_silent)

        def _leave_silent(self) -> None:
            # uvicorn sets it with the first request; its type says it were always there.
            asked: object = self.cycle
            if asked is None and not self.transport.is_closing():
                self.transport.close()

    return Impatient
