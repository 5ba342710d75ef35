"""Random inputs made from good ones; the same numbers give the same input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

# What length fields, counters and signs go wrong at.
EDGES = (0, 1, 2, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
MAX_INPUT = 4096


def below(rng: Random, limit: int) -> int:
    """A number from 0 up to the limit; several times quicker than `randrange`."""
    return int(rng.random() * limit)


class Mutator:
    """Cuts, joins and bends seeds; `tokens` are pieces worth putting in."""

    def __init__(self, seeds: Sequence[bytes], tokens: Sequence[bytes] = ()) -> None:
        self.seeds = tuple(seeds)
        self.tokens = tuple(tokens) or (b"\0",)
        self.bends: list[Callable[[Random, bytearray], None]] = [
            flip_bit,
            set_byte,
            set_number,
            remove,
            repeat,
            swap,
            self.put_token,
            self.put_token,
            self.splice,
        ]

    def draw(self, rng: Random) -> bytes:
        """Mostly a seed bent in a few places, now and then as it is or mere noise."""
        if rng.random() < 0.03:
            return rng.randbytes(below(rng, 64))
        data = bytearray(self.seeds[below(rng, len(self.seeds))])
        self.bend(rng, data)
        return bytes(data[:MAX_INPUT])

    def bend(self, rng: Random, data: bytearray) -> None:
        """Change the data in up to six places."""
        for _ in range(below(rng, 7)):
            self.bends[below(rng, len(self.bends))](rng, data)

    def put_token(self, rng: Random, data: bytearray) -> None:
        """Put a token in, or in the place of as many bytes."""
        token = self.tokens[below(rng, len(self.tokens))]
        pos = below(rng, len(data) + 1)
        data[pos : pos + len(token) * (rng.random() < 0.5)] = token

    def splice(self, rng: Random, data: bytearray) -> None:
        """Go on as another seed does."""
        other = self.seeds[below(rng, len(self.seeds))]
        data[below(rng, len(data) + 1) :] = other[below(rng, len(other) + 1) :]


def flip_bit(rng: Random, data: bytearray) -> None:
    if data:
        data[below(rng, len(data))] ^= 1 << below(rng, 8)


def set_byte(rng: Random, data: bytearray) -> None:
    if data:
        data[below(rng, len(data))] = below(rng, 256)


def set_number(rng: Random, data: bytearray) -> None:
    """An edge case over one to four bytes, in either order."""
    size = (1, 2, 4)[below(rng, 3)]
    number = EDGES[below(rng, len(EDGES))] & (1 << 8 * size) - 1
    pos = below(rng, len(data) + 1)
    data[pos : pos + size] = number.to_bytes(
        size, "big" if rng.random() < 0.7 else "little"
    )


def remove(rng: Random, data: bytearray) -> None:
    pos = below(rng, len(data) + 1)
    del data[pos : pos + 1 + below(rng, 8)]


def repeat(rng: Random, data: bytearray) -> None:
    pos = below(rng, len(data) + 1)
    piece = data[pos : pos + 1 + below(rng, 24)]
    data[pos:pos] = piece * (1 + below(rng, 4))


def swap(rng: Random, data: bytearray) -> None:
    """Move a piece to another place."""
    pos = below(rng, len(data) + 1)
    piece = data[pos : pos + 1 + below(rng, 24)]
    del data[pos : pos + len(piece)]
    pos = below(rng, len(data) + 1)
    data[pos:pos] = piece
