"""multistream-select: both ends, lazy or not, on anything the other end may send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from praxis_fast.errors import MultistreamError
from praxis_fast.wire.multistream import (
    HEADER,
    LIST,
    NOT_AVAILABLE,
    MultistreamInitiator,
    MultistreamResponder,
    encode_line,
)
from tests.fuzz.target import ParserTarget, attempt, same_for_every_cut

NAMES = ["/noise", "/yamux/1.0.0", "/praxis/card/1.0.0"]
MACHINES = (
    lambda: MultistreamResponder(NAMES),
    lambda: MultistreamInitiator(NAMES),
    lambda: MultistreamInitiator(NAMES[1:], lazy=True),
)
LINES = [encode_line(text) for text in (HEADER, *NAMES, LIST, NOT_AVAILABLE, "/x", "")]


class Multistream(ParserTarget):
    """The first byte chooses the machine."""

    name = "multistream"
    tokens = (*LINES, b"\n", b"\x80", b"\xff\xff\x03", b"\x80\x08")

    def seeds(self) -> Sequence[bytes]:
        header, noise, yamux, card, listing, refusal, strange, _ = LINES
        dialogues = [
            header + noise + b"leftover",
            header + refusal * 2 + card,
            header + strange + listing + yamux,
            header + strange * 33,
        ]
        return [bytes([number]) + text for text in dialogues for number in range(3)]

    def check(self, data: bytes) -> None:
        make = MACHINES[data[0] % 3 if data else 0]

        def run(chunks: list[bytes]) -> Any:
            machine = make()
            error = attempt(MultistreamError, feed, machine, chunks)
            said = machine.data_to_send()
            return str(error), said, machine.protocol, machine.leftover

        same_for_every_cut(run, data[1:])


def feed(
    machine: MultistreamInitiator | MultistreamResponder, chunks: list[bytes]
) -> None:
    for chunk in chunks:
        machine.receive_data(chunk)
