"""What a listen address on every interface means on this machine."""

from __future__ import annotations

import ipaddress

import ifaddr

from praxis_fast.wire.multiaddr import Multiaddr


def expand(address: Multiaddr) -> list[Multiaddr]:
    """The addresses others may dial; one for each interface of an unspecified one."""
    if not address.is_unspecified:
        return [address]
    kind, _ = address.host
    port = address.port
    if port is None:
        return []
    return [Multiaddr.tcp(ip, port) for ip in interface_addresses(kind)]


def interface_addresses(kind: str) -> list[str]:
    """This machine's addresses of one kind, "ip4" or "ip6", loopback last.

    Link-local ones are left out: nobody can dial them without naming an interface.
    """
    version = 4 if kind == "ip4" else 6
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            parsed = ipaddress.ip_address(text)
            if parsed.version == version and not parsed.is_link_local:
                found.append(parsed)
    found.sort(key=lambda parsed: parsed.is_loopback)
    return [str(parsed) for parsed in dict.fromkeys(found)]
