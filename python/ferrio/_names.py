"""Names and addresses: `getaddrinfo` and `getnameinfo`.

To ask for a name may take seconds, and so asyncio lets a thread of the default executor ask. A literal address needs
nobody to be asked: it is answered at once. Where another function has taken the place of the `socket` module's, it is
called, and in a thread, as asyncio calls it.
"""

import _socket
import socket
from asyncio import base_events
from typing import Any

from ._state import State

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

# Unless it was replaced before ferrio was imported.
_is_genuine = getattr(socket.getaddrinfo, "__globals__", None) is vars(socket)
_getaddrinfo = socket.getaddrinfo if _is_genuine else None


class Names(State):
    """Name resolution, by `asyncio.BaseEventLoop` where it may block."""

    __slots__ = ()

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Return and raise what `socket.getaddrinfo()` does. Debug mode logs how long it took."""
        # What `asyncio.BaseEventLoop` would call.
        function = base_events.socket.getaddrinfo  # type: ignore[attr-defined]
        if function is _getaddrinfo and not self._debug and not self._executor_shutdown_called:
            found = self._addrinfo_of_literal(host, port, family, type, proto, flags)
            if found is not None:
                return found
        return await super().getaddrinfo(  # type: ignore[misc]
            host, port, family=family, type=type, proto=proto, flags=flags
        )

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]:
        """Return and raise what `socket.getnameinfo()` does."""
        function = base_events.socket.getnameinfo  # type: ignore[attr-defined]
        if (
            function is _socket.getnameinfo
            and not self._executor_shutdown_called
            and isinstance(flags, int)
            and flags & _NUMERIC == _NUMERIC
        ):
            return function(sockaddr, flags)
        return await super().getnameinfo(sockaddr, flags)  # type: ignore[misc,no-any-return]
