"""Protocol negotiation, in every order and cut the two ends can speak."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import MultistreamError, UsageError
from praxis_fast.limits import SecurityLimits
from praxis_fast.wire.multistream import (
    HEADER,
    MultistreamInitiator,
    MultistreamResponder,
    encode_line,
)

ECHO = "/echo/1.0.0"
PING = "/ipfs/ping/1.0.0"
LIMITS = SecurityLimits()


def feed(machine, chunks) -> bytes:
    """Give the chunks to the machine; returns all it wants sent."""
    sent = machine.data_to_send()
    for chunk in chunks:
        machine.receive_data(chunk)
        sent += machine.data_to_send()
    return sent


def lines(*texts: str) -> bytes:
    return b"".join(encode_line(text) for text in texts)


def test_lines_are_as_published() -> None:
    # multiformats/multistream-select, README: "na" and "ls" in hexadecimal.
    assert encode_line("na").hex() == "036e610a"
    assert encode_line("ls").hex() == "036c730a"
    assert encode_line(HEADER) == b"\x13/multistream/1.0.0\n"


def test_initiator_sends_header_and_proposal_in_one_packet() -> None:
    initiator = MultistreamInitiator([ECHO, PING])
    assert initiator.data_to_send() == lines(HEADER, ECHO)
    assert initiator.data_to_send() == b""
    assert initiator.protocol is None


def test_responder_sends_its_header_without_waiting() -> None:
    responder = MultistreamResponder({ECHO})
    assert responder.data_to_send() == lines(HEADER)


def test_responder_takes_header_proposal_and_data_in_any_cut(chunkings) -> None:
    for chunks in chunkings(lines(HEADER, ECHO) + b"first data"):
        responder = MultistreamResponder({ECHO: None})
        assert feed(responder, chunks) == lines(HEADER, ECHO)
        assert responder.protocol == ECHO
        assert responder.leftover == b"first data"


def test_initiator_takes_header_answer_and_data_in_any_cut(chunkings) -> None:
    for lazy in (False, True):
        for chunks in chunkings(lines(HEADER, ECHO) + b"first data"):
            initiator = MultistreamInitiator([ECHO], lazy=lazy)
            assert feed(initiator, chunks) == lines(HEADER, ECHO)
            assert initiator.protocol == ECHO
            assert not initiator.failed
            assert initiator.leftover == b"first data"


def test_initiator_goes_on_to_what_the_other_end_has(chunkings) -> None:
    for chunks in chunkings(lines(HEADER, "na", PING) + b"\x01\x02"):
        initiator = MultistreamInitiator([ECHO, PING, "/never"])
        assert feed(initiator, chunks) == lines(HEADER, ECHO, PING)
        assert initiator.protocol == PING
        assert initiator.leftover == b"\x01\x02"


def test_initiator_fails_when_nothing_is_available(chunkings) -> None:
    for chunks in chunkings(lines(HEADER, "na", "na")):
        initiator = MultistreamInitiator([ECHO, PING])
        feed(initiator, chunks)
        assert initiator.failed
        assert initiator.protocol is None


def test_lazy_initiator_proposes_once_and_checks_the_answer() -> None:
    initiator = MultistreamInitiator([ECHO, PING], lazy=True)
    feed(initiator, [lines(HEADER)])
    assert initiator.protocol is None
    feed(initiator, [lines("na")])
    assert initiator.failed
    other = MultistreamInitiator([ECHO], lazy=True)
    with pytest.raises(MultistreamError, match="in answer to"):
        other.receive_data(lines(HEADER, PING))


def test_responder_refuses_what_it_does_not_have(chunkings) -> None:
    for chunks in chunkings(lines(HEADER, "/a", "ls", "", ECHO)):
        responder = MultistreamResponder({ECHO, "ls"})
        assert feed(responder, chunks) == lines(HEADER, "na", "na", "na", ECHO)
        assert responder.protocol == ECHO
        assert responder.leftover == b""


@given(
    st.lists(st.sampled_from(["/a", "/b", "/c", "/d"]), min_size=1, max_size=4),
    st.sets(st.sampled_from(["/a", "/b", "/c", "/d"])),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_two_ends_agree_on_the_first_protocol_both_have(
    wanted: list[str], offered: set[str], lazy: bool, rng: random.Random
) -> None:
    initiator = MultistreamInitiator(wanted, lazy=lazy)
    responder = MultistreamResponder(offered)
    to_responder = bytearray(initiator.data_to_send())
    to_initiator = bytearray(responder.data_to_send())
    while to_responder or to_initiator:
        if to_responder and (not to_initiator or rng.random() < 0.5):
            responder.receive_data(take(to_responder, rng))
        else:
            initiator.receive_data(take(to_initiator, rng))
        to_responder += initiator.data_to_send()
        to_initiator += responder.data_to_send()
    proposed = wanted[:1] if lazy else wanted
    expected = next((name for name in proposed if name in offered), None)
    assert initiator.protocol == responder.protocol == expected
    assert initiator.failed is (expected is None)


def take(data: bytearray, rng: random.Random) -> bytes:
    size = rng.randrange(1, len(data) + 1)
    taken = bytes(data[:size])
    del data[:size]
    return taken


def test_bytes_after_the_agreement_are_kept() -> None:
    responder = MultistreamResponder({ECHO})
    responder.receive_data(lines(HEADER, ECHO))
    responder.receive_data(b"a")
    responder.receive_data(b"b")
    assert responder.leftover == b"ab"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x81\x08", "line of 1025 bytes, limit 1024"),
        (b"\xff\xff\x7f", "limit 1024"),
        (b"\xff\xff\xff", "more than 3 bytes"),
        (b"\x80\x80\x80\x80", "more than 3 bytes"),
        (b"\x00", "without a newline"),
        (b"\x83\x00na\n", "shortest form"),
        (b"\x02na", "without a newline"),
        (b"\x13/multistream/1.0.0 ", "without a newline"),
        (b"\x02\xff\n", "not UTF-8"),
        (lines("/multistream/2.0.0"), "in place of the header"),
        (lines(ECHO), "in place of the header"),
        (b"GET / HTTP/1.1\r\n" * 8, "without a newline"),
    ],
)
def test_sec_1_malformed_line_is_an_error_in_any_cut(chunkings, data, match) -> None:
    for chunks in chunkings(data):
        for machine in (MultistreamResponder({ECHO}), MultistreamInitiator([ECHO])):
            with pytest.raises(MultistreamError, match=match):
                feed(machine, chunks)
            with pytest.raises(MultistreamError, match="over after an error"):
                machine.receive_data(b"")


def test_sec_1_long_line_is_judged_by_its_length_alone() -> None:
    responder = MultistreamResponder({ECHO})
    responder.receive_data(lines(HEADER))
    with pytest.raises(MultistreamError, match="line of 2000 bytes, limit 1024"):
        responder.receive_data(b"\xd0\x0f")
    longest = "/" + "a" * (LIMITS.max_line - 2)
    responder = MultistreamResponder({longest})
    responder.receive_data(lines(HEADER, longest))
    assert responder.protocol == longest


def test_sec_1_endless_proposals_are_refused() -> None:
    responder = MultistreamResponder({ECHO})
    names = [f"/p/{number}" for number in range(LIMITS.max_proposals)]
    responder.receive_data(lines(HEADER, *names))
    assert responder.data_to_send() == lines(HEADER, *["na"] * LIMITS.max_proposals)
    with pytest.raises(MultistreamError, match="33 proposals, limit 32"):
        responder.receive_data(lines(ECHO))


def test_sec_1_endless_refusals_end_with_our_proposals() -> None:
    initiator = MultistreamInitiator([ECHO, PING])
    initiator.receive_data(lines(HEADER, *["na"] * 1000))
    assert initiator.failed
    assert initiator.data_to_send() == lines(HEADER, ECHO, PING)


def test_wrong_answer_to_a_proposal_is_an_error() -> None:
    initiator = MultistreamInitiator([ECHO])
    with pytest.raises(MultistreamError, match="in answer to"):
        initiator.receive_data(lines(HEADER, PING))


@pytest.mark.parametrize(
    "protocols", [[], [""], ["a\nb"], ["na"], ["ls"], ["a" * 1024], ["/a"] * 33]
)
def test_protocols_that_cannot_be_proposed_are_a_usage_error(protocols) -> None:
    with pytest.raises(UsageError):
        MultistreamInitiator(protocols)


@given(st.binary(max_size=80))
def test_any_bytes_agree_or_are_refused(data: bytes) -> None:
    for machine in (MultistreamResponder({ECHO}), MultistreamInitiator([ECHO])):
        try:
            machine.receive_data(data)
        except MultistreamError:
            continue
        assert machine.protocol is None or data.startswith(lines(HEADER))
