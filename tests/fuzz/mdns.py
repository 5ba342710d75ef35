"""mDNS packets of strangers: through the gate, then what is heard in them."""

from __future__ import annotations

from collections.abc import Sequence

from zeroconf import (
    DNSAddress,
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSService,
    DNSText,
)

from praxis_fast.errors import ProtocolError
from praxis_fast.limits import DiscoveryLimits
from praxis_fast.p2p.announcement import announced_text, heard_peers, is_announceable
from praxis_fast.p2p.mdns import SERVICE
from praxis_fast.p2p.packet_gate import checked_packet, lone_questions
from praxis_fast.wire.multiaddr import Multiaddr
from tests.fuzz.identity import PEERS
from tests.fuzz.target import ParserTarget, attempt

LIMITS = DiscoveryLimits(max_records=16)
MAX_ADDRESSES = 3
QUERY, ANSWER = 0, 0x8400
PTR, TXT, A, SRV = 12, 16, 1, 33


class MDNSPacket(ParserTarget):
    """A datagram."""

    name = "mdns"
    tokens = (
        *(
            b"\xc0\x0c",
            b"\xc0\x00",
            b"\xc0\xff",
            b"\x00",
            b"\x3f",
            b"\x00\x10",
            b"\x40",
        ),
        *(b"\x00\x0c\x00\x01", b"dnsaddr=", b"/p2p/", b"peer_id=", b"addresses="),
    )

    def seeds(self) -> Sequence[bytes]:
        name = f"abc.{SERVICE}"
        addrs = [Multiaddr.tcp("192.0.2.1", 4001), Multiaddr.tcp("2001:db8::1", 4002)]
        text = announced_text(PEERS[1], addrs)
        answer = DNSOutgoing(ANSWER)
        answer.add_answer_at_time(DNSPointer(SERVICE, PTR, 1, 120, name), 0)
        answer.add_answer_at_time(DNSText(name, TXT, 1, 120, text), 0)
        answer.add_answer_at_time(
            DNSService(name, SRV, 1, 120, 0, 0, 4001, "h.local."), 0
        )
        answer.add_answer_at_time(DNSAddress("h.local.", A, 1, 120, b"\xc0\0\2\1"), 0)
        named = b"peer_id=" + PEERS[1].encode()
        listed = b"addresses=/ip4/192.0.2.1/tcp/1,/ip4/192.0.2.2/tcp/2"
        older = DNSOutgoing(ANSWER)
        strings = b"".join(bytes([len(part)]) + part for part in (named, listed))
        older.add_answer_at_time(DNSText(name, TXT, 1, 120, strings), 0)
        question = DNSOutgoing(QUERY)
        question.add_question(DNSQuestion(SERVICE, PTR, 1))
        question.add_question(DNSQuestion(name, SRV, 1))
        return [out.packets()[0] for out in (answer, older, question)]

    def check(self, data: bytes) -> None:
        packet = attempt(ProtocolError, checked_packet, data, LIMITS)
        if not isinstance(packet, DNSIncoming):
            return
        assert all(isinstance(name, str) for name in lone_questions(packet))
        for peer, addrs in heard_peers(
            packet.answers(), SERVICE, MAX_ADDRESSES
        ).items():
            assert 0 < len(addrs) <= MAX_ADDRESSES
            assert all(is_announceable(addr) for addr in addrs)
            assert all(addr.peer_id == peer for addr in addrs)
