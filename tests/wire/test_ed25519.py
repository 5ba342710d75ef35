"""Good and bad Ed25519 points, against plain curve arithmetic."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.wire.ed25519 import PRIME, SMALL_ORDER, check_point

D = -121665 * pow(121666, -1, PRIME) % PRIME
ROOT = pow(2, (PRIME - 1) // 4, PRIME)

Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    """RFC 8032 §5.1.4, affine."""
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2 % PRIME
    return (
        (x1 * y2 + x2 * y1) * pow(1 + t, -1, PRIME) % PRIME,
        (y1 * y2 + x1 * x2) * pow(1 - t, -1, PRIME) % PRIME,
    )


def point_of(y: int) -> Point | None:
    """RFC 8032 §5.1.3."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    for root in (x, x * ROOT % PRIME):
        if root * root % PRIME == square:
            return root, y
    return None


def encode(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def test_small_order_points_vanish_after_three_doublings() -> None:
    orders = []
    for y in SMALL_ORDER:
        point = point_of(y)
        assert point is not None
        order, sum_ = 1, point
        while sum_ != (0, 1) and order < 9:
            sum_ = add(sum_, point)
            order += 1
        orders.append(order)
    assert sorted(orders) == [1, 2, 4, 8, 8]


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", sorted(SMALL_ORDER))
def test_sec_4_5_small_order_point_is_refused(y: int, sign: int) -> None:
    assert check_point(encode(y, sign)) == "the point has a small order"


@pytest.mark.parametrize("y", [PRIME, PRIME + 1, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_sec_2_point_beyond_the_prime_is_not_canonical(y: int, sign: int) -> None:
    assert check_point(encode(y, sign)) == "the point is not canonical"


@given(st.integers(2, PRIME - 2), st.integers(0, 1))
def test_sec_4_5_point_off_the_curve_is_refused(y: int, sign: int) -> None:
    if y in SMALL_ORDER:
        return
    good = point_of(y) is not None
    fault = check_point(encode(y, sign))
    assert fault == (None if good else "the point is not on the curve")


@given(st.binary(min_size=32, max_size=32))
def test_every_real_key_is_good(seed: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert check_point(key.public_bytes_raw()) is None


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_key_of_another_size_is_refused(size: int) -> None:
    assert check_point(b"\x05" * size) == f"{size} bytes, expected 32"
