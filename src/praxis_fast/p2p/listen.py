"""A listening socket and its accept loop."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import resource
import socket
from typing import TYPE_CHECKING

from praxis_fast.errors import NetworkError, ResourceLimitError
from praxis_fast.wire.multiaddr import Multiaddr

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.limits import ConnectionLimits
    from praxis_fast.p2p.observers import Observers

BACKLOG = 512

# Connections taken in one turn, so that a flood leaves time for the links there are.
ACCEPT_BATCH = 32

# docs/limits.md CON-3: how long nothing is accepted when descriptors run out.
PAUSE = 0.1

# accept(2): the process or the system is out of descriptors or memory.
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
# accept(2): what went wrong is the new connection's, not the listener's.
_THEIRS = frozenset((errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR))


def descriptor_limit(limits: ConnectionLimits) -> int:
    """The first file descriptor that is kept in reserve."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 2**31 - 1
    return max(1, soft - limits.reserved_descriptors)


class Listener:
    """Accepts connections on one address and hands the sockets on."""

    def __init__(
        self,
        address: Multiaddr,
        *,
        limits: ConnectionLimits,
        observers: Observers,
        on_socket: Callable[[socket.socket, str, int], None],
    ) -> None:
        self.address = address
        """The address listened on; with its real port once started."""
        self._limits = limits
        self._observers = observers
        self._on_socket = on_socket
        self._descriptors = descriptor_limit(limits)
        self._socket: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Bind and accept; NetworkError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            self._socket = _bind(self.address)
        except OSError as error:
            reason = error.strerror or str(error)
            raise NetworkError(
                f"cannot listen on {self.address}: {reason.lower()}"
            ) from error
        host, port = self._socket.getsockname()[:2]
        self.address = Multiaddr.tcp(host, port)
        loop.add_reader(self._socket, self._on_readable)

    def close(self) -> None:
        """Accept nothing more."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        elif self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _on_readable(self) -> None:
        for _ in range(ACCEPT_BATCH):
            if self._socket is None or self._pause is not None:
                return
            try:
                accepted, name = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._on_error(error)
                return
            self._take(accepted, name[0], name[1])

    def _take(self, accepted: socket.socket, host: str, port: int) -> None:
        """Hand the socket on, or close it before a byte is read."""
        if accepted.fileno() >= self._descriptors:
            accepted.close()
            self._rest(f"descriptor limit {self._descriptors} reached")
            return
        try:
            self._on_socket(accepted, host, port)
        except ResourceLimitError as error:
            accepted.close()
            address = str(Multiaddr.tcp(host, port))
            self._observers.error("refused", None, address, str(error))

    def _on_error(self, error: OSError) -> None:
        if error.errno in _EXHAUSTED:
            self._rest((error.strerror or str(error)).lower())
        elif error.errno not in _THEIRS:
            self._observers.error("accept", None, str(self.address), str(error))

    def _rest(self, reason: str) -> None:
        """Accept nothing for a moment; the links there are go on."""
        if self._socket is None:
            return
        message = f"accepting nothing for {PAUSE:g} s: {reason}"
        self._observers.error("descriptors", None, str(self.address), message)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._pause = loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._pause = None
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._on_readable)


def _bind(address: Multiaddr) -> socket.socket:
    kind, host = address.host
    if kind not in ("ip4", "ip6") or address.port is None:
        raise NetworkError(f"cannot listen on {address}: not an IP address and a port")
    family = socket.AF_INET if kind == "ip4" else socket.AF_INET6
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((str(ipaddress.ip_address(host)), address.port))
        bound.listen(BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound
