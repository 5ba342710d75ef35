"""The libp2p handshake: honest ends in every cut, and ends that lie."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from praxis_fast.errors import NoiseError, UsageError
from praxis_fast.limits import SecurityLimits
from praxis_fast.wire.keys import PrivateKey, PublicKey
from praxis_fast.wire.noise import SIGNATURE_PREFIX, NoiseHandshake, StaticKey
from praxis_fast.wire.noise_state import HandshakeState
from praxis_fast.wire.noise_transport import NoiseTransport
from praxis_fast.wire.protobuf import encode_bytes, encode_number, read_fields

if TYPE_CHECKING:
    from collections.abc import Callable

ALICE = PrivateKey.from_seed(bytes(range(32)))
BOB = PrivateKey.from_seed(bytes(range(1, 33)))
EVE = PrivateKey.from_seed(bytes(range(2, 34)))
YAMUX = "/yamux/1.0.0"
MPLEX = "/mplex/6.7.0"


def handshake(*, initiator: bool, key: PrivateKey, **options) -> NoiseHandshake:
    number = 1 if initiator else 3
    return NoiseHandshake(
        initiator=initiator,
        key=StaticKey(key, bytes([number]) * 32),
        ephemeral_key=bytes([number + 1]) * 32,
        **options,
    )


def dial(**options) -> NoiseHandshake:
    return handshake(initiator=True, key=ALICE, **options)


def listen(**options) -> NoiseHandshake:
    return handshake(initiator=False, key=BOB, **options)


def run(initiator: NoiseHandshake, responder: NoiseHandshake) -> None:
    responder.receive_data(initiator.data_to_send())
    initiator.receive_data(responder.data_to_send())
    responder.receive_data(initiator.data_to_send())


def test_one_static_key_serves_many_handshakes() -> None:
    static = StaticKey(ALICE)
    heard = set()
    for _ in range(2):
        initiator = NoiseHandshake(initiator=True, key=static)
        responder = NoiseHandshake(initiator=False, key=static)
        run(initiator, responder)
        assert initiator.remote_peer == responder.remote_peer == ALICE.peer_id
        heard.add(initiator.transport().send_data(b"the same"))
    assert len(heard) == 2


def test_both_ends_know_each_other_afterwards() -> None:
    initiator, responder = dial(expected_peer=BOB.peer_id), listen()
    run(initiator, responder)
    assert initiator.done
    assert responder.done
    assert initiator.remote_peer == BOB.peer_id
    assert initiator.remote_key == BOB.public_key
    assert responder.remote_peer == ALICE.peer_id
    assert responder.remote_key == ALICE.public_key
    assert initiator.muxer == responder.muxer == YAMUX
    a, b = initiator.transport(), responder.transport()
    assert initiator.transport() is a
    assert b.receive_data(a.send_data(b"ping")) == [b"ping"]
    assert a.receive_data(b.send_data(b"pong")) == [b"pong"]


def test_fresh_keys_are_used_when_none_are_given() -> None:
    first = NoiseHandshake(initiator=True, key=ALICE).data_to_send()
    second = NoiseHandshake(initiator=True, key=ALICE).data_to_send()
    assert first != second
    assert len(first) == 34


def test_handshake_goes_through_in_every_cut(chunkings) -> None:
    initiator, responder = dial(), listen()
    first = initiator.data_to_send()
    responder.receive_data(first)
    second = responder.data_to_send()
    initiator.receive_data(second)
    third = initiator.data_to_send()
    behind = initiator.transport().send_data(b"early")
    for chunks in chunkings(first + third + behind):
        responder = listen()
        for chunk in chunks:
            responder.receive_data(chunk)
        assert responder.data_to_send() == second
        assert responder.leftover == behind
        assert responder.transport().receive_data(responder.leftover) == [b"early"]
    behind = responder.transport().send_data(b"answer")
    for chunks in chunkings(second + behind):
        initiator = dial()
        for chunk in chunks:
            initiator.receive_data(chunk)
        assert initiator.data_to_send() == first + third
        assert initiator.transport().receive_data(initiator.leftover) == [b"answer"]


@settings(max_examples=30)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_any_two_keys_make_a_channel(one: bytes, two: bytes) -> None:
    a, b = PrivateKey.from_seed(one), PrivateKey.from_seed(two)
    initiator = NoiseHandshake(initiator=True, key=a, expected_peer=b.peer_id)
    responder = NoiseHandshake(initiator=False, key=b, expected_peer=a.peer_id)
    run(initiator, responder)
    assert responder.remote_peer == a.peer_id


def test_initiator_says_nothing_of_itself_in_the_first_message() -> None:
    assert len(dial().data_to_send()) == 34


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((YAMUX,), (YAMUX,), YAMUX),
        ((YAMUX, MPLEX), (MPLEX, YAMUX), YAMUX),
        ((MPLEX, YAMUX), (YAMUX,), YAMUX),
        ((YAMUX,), (), None),
        ((), (YAMUX,), None),
        ((), (), None),
    ],
)
def test_muxer_is_the_first_of_the_initiator_that_both_have(
    ours, theirs, expected
) -> None:
    initiator, responder = dial(muxers=ours), listen(muxers=theirs)
    run(initiator, responder)
    assert initiator.muxer == responder.muxer == expected


def test_no_muxer_in_common_fails() -> None:
    initiator, responder = dial(muxers=[MPLEX]), listen(muxers=[YAMUX])
    responder.receive_data(initiator.data_to_send())
    with pytest.raises(NoiseError, match="no muxer in common"):
        initiator.receive_data(responder.data_to_send())
    assert initiator.remote_peer is None
    assert initiator.data_to_send() == b""


def test_no_muxer_in_common_fails_at_the_responder_too() -> None:
    liar = Liar(initiator=True)
    payload = liar.payload(extra=extensions(MPLEX))
    with pytest.raises(NoiseError, match="no muxer in common"):
        liar.meet_responder(listen(), payload)


def test_there_is_no_channel_before_the_end() -> None:
    initiator = dial()
    assert initiator.leftover == b""
    with pytest.raises(UsageError, match="no channel before"):
        initiator.transport()


def extensions(*muxers: str) -> bytes:
    return encode_bytes(4, b"".join(encode_bytes(2, name.encode()) for name in muxers))


class Liar:
    """One end whose payload is up to the test."""

    def __init__(self, *, initiator: bool) -> None:
        self.static = X25519PrivateKey.generate()
        self.state = HandshakeState(
            initiator=initiator,
            static=self.static,
            ephemeral=X25519PrivateKey.generate(),
        )

    def signed_text(self) -> bytes:
        return SIGNATURE_PREFIX + self.static.public_key().public_bytes_raw()

    def payload(
        self,
        key: bytes | None = None,
        signature: bytes | None = None,
        extra: bytes = b"",
    ) -> bytes:
        if key is None:
            key = EVE.public_key.to_protobuf()
        if signature is None:
            signature = EVE.sign(self.signed_text())
        return encode_bytes(1, key) + encode_bytes(2, signature) + extra

    def meet_initiator(self, initiator: NoiseHandshake, payload: bytes) -> None:
        self.state.read_message(initiator.data_to_send()[2:])
        initiator.receive_data(framed(self.state.write_message(payload)))

    def meet_responder(self, responder: NoiseHandshake, payload: bytes) -> None:
        responder.receive_data(framed(self.state.write_message(b"")))
        self.state.read_message(responder.data_to_send()[2:])
        responder.receive_data(framed(self.state.write_message(payload)))

    def meet(self, payload: bytes, *, initiator: bool, **options) -> NoiseHandshake:
        """Meet the other kind of end with the payload."""
        if initiator:
            honest = listen(**options)
            self.meet_responder(honest, payload)
        else:
            honest = dial(**options)
            self.meet_initiator(honest, payload)
        return honest


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def spki(key) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


EVE_KEY = EVE.public_key.to_protobuf()
LIES: dict[str, Callable[[Liar], bytes]] = {
    "no payload": lambda liar: b"",
    "no signature": lambda liar: encode_bytes(1, EVE_KEY),
    "empty signature": lambda liar: liar.payload(signature=b""),
    "no key": lambda liar: encode_bytes(2, EVE.sign(liar.signed_text())),
    "wrong signature": lambda liar: liar.payload(signature=bytes(64)),
    "wrong prefix": lambda liar: liar.payload(
        signature=EVE.sign(b"noise-libp2p-static-kez:" + liar.signed_text()[24:])
    ),
    "no prefix": lambda liar: liar.payload(
        signature=EVE.sign(liar.signed_text()[len(SIGNATURE_PREFIX) :])
    ),
    "signed by another": lambda liar: liar.payload(
        signature=BOB.sign(liar.signed_text())
    ),
    "signed another key": lambda liar: liar.payload(
        signature=EVE.sign(SIGNATURE_PREFIX + bytes(32))
    ),
    "somebody's key": lambda liar: liar.payload(key=BOB.public_key.to_protobuf()),
    "key not canonical": lambda liar: liar.payload(key=EVE_KEY + encode_number(9, 1)),
    "long varint": lambda liar: liar.payload(key=b"\x08\x81\x00" + EVE_KEY[2:]),
    "small order": lambda liar: liar.payload(
        key=encode_number(1, 1) + encode_bytes(2, b"\x01" + bytes(31)),
        signature=b"\x01" + bytes(63),
    ),
    "unknown key type": lambda liar: liar.payload(key=b"\x08\x04" + EVE_KEY[2:]),
    "no protobuf": lambda liar: b"\xff\xff\xff",
    "key is a number": lambda liar: encode_number(1, 1) + encode_number(2, 1),
    "extensions are a number": lambda liar: liar.payload(extra=encode_number(4, 1)),
    "muxer not UTF-8": lambda liar: liar.payload(
        extra=encode_bytes(4, encode_bytes(2, b"\xff"))
    ),
}


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize("lie", LIES)
def test_sec_2_end_that_lies_is_refused(lie: str, initiator: bool) -> None:
    liar = Liar(initiator=initiator)
    with pytest.raises(NoiseError):
        liar.meet(LIES[lie](liar), initiator=initiator)


@pytest.mark.parametrize("initiator", [True, False])
def test_sec_2_honest_end_is_taken_with_fields_we_do_not_know(initiator: bool) -> None:
    liar = Liar(initiator=initiator)
    extra = encode_bytes(3, b"old data") + encode_bytes(4, encode_bytes(1, b"hash"))
    honest = liar.meet(liar.payload(extra=extra), initiator=initiator)
    assert honest.remote_peer == EVE.peer_id
    assert honest.muxer is None


@pytest.mark.parametrize("initiator", [True, False])
def test_sec_2_another_peer_than_expected_is_refused(initiator: bool) -> None:
    liar = Liar(initiator=initiator)
    with pytest.raises(NoiseError, match=f"peer is {EVE.peer_id}, expected"):
        liar.meet(liar.payload(), initiator=initiator, expected_peer=BOB.peer_id)


def test_sec_2_nothing_is_said_or_known_after_a_lie() -> None:
    liar = Liar(initiator=False)
    initiator = dial()
    with pytest.raises(NoiseError, match="signature of the identity key is wrong"):
        liar.meet_initiator(initiator, liar.payload(signature=bytes(64)))
    assert initiator.data_to_send() == b""
    assert not initiator.done
    assert initiator.remote_peer is None
    assert initiator.remote_key is None
    with pytest.raises(NoiseError, match="over after an error"):
        initiator.receive_data(b"")
    with pytest.raises(UsageError):
        initiator.transport()


def test_peers_with_other_kinds_of_keys_are_verified() -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    signers = [
        (0, rsa_key, lambda d: rsa_key.sign(d, padding.PKCS1v15(), hashes.SHA256())),
        (3, ec_key, lambda d: ec_key.sign(d, ec.ECDSA(hashes.SHA256()))),
    ]
    for kind, key, sign in signers:
        liar = Liar(initiator=True)
        data = spki(key.public_key())
        encoded = encode_number(1, kind) + encode_bytes(2, data)
        payload = liar.payload(encoded, sign(liar.signed_text()))
        honest = liar.meet(payload, initiator=True)
        assert honest.remote_peer == PublicKey.from_protobuf(encoded).peer_id


def test_sec_4_5_rsa_limits_hold_in_the_handshake() -> None:
    key = rsa.generate_private_key(65537, 2048)
    liar = Liar(initiator=True)
    encoded = encode_number(1, 0) + encode_bytes(2, spki(key.public_key()))
    signature = key.sign(liar.signed_text(), padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(NoiseError, match="2048 bits, limits 4096 to 8192"):
        liar.meet(
            liar.payload(encoded, signature),
            initiator=True,
            limits=SecurityLimits(rsa_min_bits=4096),
        )


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_sec_4_5_ephemeral_key_of_small_order_is_refused(point: bytes) -> None:
    responder = listen()
    with pytest.raises(NoiseError, match="small order"):
        responder.receive_data(framed(point))
    assert responder.data_to_send() == b""


def test_sec_3_flipped_bit_anywhere_is_refused() -> None:
    initiator = dial()
    first = initiator.data_to_send()
    responder = listen()
    responder.receive_data(first)
    second = responder.data_to_send()
    initiator.receive_data(second)
    third = initiator.data_to_send()
    rng = random.Random(3)
    for place in [2, 33, 34, 81, 82, *rng.choices(range(2, len(second)), k=20)]:
        bad = flipped(second, place)
        with pytest.raises(NoiseError):
            dial().receive_data(bad)
    for place in [2, 49, 50, *rng.choices(range(2, len(third)), k=20)]:
        responder = listen()
        responder.receive_data(first)
        with pytest.raises(NoiseError):
            responder.receive_data(flipped(third, place))
        assert not responder.done


def flipped(data: bytes, place: int) -> bytes:
    # Not the top bit: X25519 does not look at that of a public key.
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("size", [0, 1, 31])
def test_sec_3_message_too_short_is_refused(size: int) -> None:
    with pytest.raises(NoiseError, match="at least"):
        listen().receive_data(framed(bytes(size)))
    with pytest.raises(NoiseError, match="at least"):
        dial().receive_data(framed(bytes(size)))


def test_sec_3_long_handshake_message_is_judged_by_its_length() -> None:
    with pytest.raises(NoiseError, match="8193 bytes, limit 8192"):
        listen().receive_data(b"\x20\x01")
    with pytest.raises(NoiseError, match="65535 bytes, limit 8192"):
        dial().receive_data(b"\xff\xff")


def test_sec_7_repeated_messages_are_refused() -> None:
    initiator, responder = dial(), listen()
    first = initiator.data_to_send()
    responder.receive_data(first)
    second = responder.data_to_send()
    with pytest.raises(NoiseError):
        responder.receive_data(first)
    with pytest.raises(NoiseError):
        listen().receive_data(first + second)
    initiator.receive_data(second)
    with pytest.raises(NoiseError):
        initiator.transport().receive_data(second)


def test_payload_is_as_specified() -> None:
    liar = Liar(initiator=True)
    responder = listen(muxers=[YAMUX, MPLEX])
    responder.receive_data(framed(liar.state.write_message(b"")))
    payload = liar.state.read_message(responder.data_to_send()[2:])
    assert [number for number, _ in read_fields(payload)] == [1, 2, 4]
    fields = dict(read_fields(payload))
    assert fields[1] == BOB.public_key.to_protobuf()
    assert BOB.public_key.verify(
        fields[2], b"noise-libp2p-static-key:" + liar.state.remote_static
    )
    assert list(read_fields(fields[4])) == [(2, YAMUX.encode()), (2, MPLEX.encode())]


def test_transport_class_is_offered_here_too() -> None:
    initiator, responder = dial(), listen()
    run(initiator, responder)
    assert type(initiator.transport()) is NoiseTransport
