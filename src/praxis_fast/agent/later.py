"""Settings of other SDKs that load and do nothing here yet, with one warning each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praxis_fast.agent.settings import Entry, Layer

_SECTIONS = """
    llm mcp prometheus metrics api websocket a2a agents environment debug dsl workflow
"""
_KEYS = """
    agent.url agent.shared_dir agent.tools agent.external_mcp_endpoints
    agent.external_mcp_servers agent.identity agent.security agent.did_cache_ttl
    p2p.rendezvous p2p.enable_dht p2p.enable_relay p2p.enable_nat_portmap
    p2p.enable_autorelay p2p.enable_hole_punching
    p2p.advertise_addrs p2p.announce_addresses p2p.listen_addresses p2p.autotls
    p2p.keystore_path p2p.peer_discovery p2p.mdns_service p2p.connection_timeout
    p2p.max_peers p2p.protocols p2p.security p2p.discovery_interval p2p.discovery
    p2p.protocol_version p2p.capabilities
"""

LATER_SECTIONS = frozenset(_SECTIONS.split())
"""Whole sections; one warning for each."""

LATER_KEYS = frozenset(_KEYS.split())


def later_name(key: str) -> str | None:
    """The key or section that has no effect yet and `key` belongs to."""
    section, _, _ = key.partition(".")
    if section in LATER_SECTIONS:
        return section
    head = ".".join(key.split(".")[:2])
    return head if head in LATER_KEYS else None


def asks_for_something(entry: Entry) -> bool:
    """Whether the value wants anything: off and empty need no warning."""
    if entry.is_text:
        return entry.value.strip().lower() not in ("", "0", "false", "no", "off", "[]")
    return bool(entry.value)


def ignored_keys(entries: Layer, known: Sequence[str]) -> tuple[tuple[str, ...], Layer]:
    """One warning for each key or section without effect, and the entries that stay."""
    kept: Layer = {}
    warnings: dict[str, str] = {}
    for key, entry in entries.items():
        name = None if key in known else later_name(key)
        if name is None:
            kept[key] = entry
        elif asks_for_something(entry):
            text = f"{entry.place}: {name} has no effect yet"
            warnings.setdefault(name, text)
    return tuple(warnings.values()), kept
