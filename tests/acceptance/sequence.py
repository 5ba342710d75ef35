"""Events that follow from their numbers, so that every process knows all of them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from praxis_fast.events.priority import Priority

EPOCH = "sequence"
LETTERS = "abcdefghijklmnop"
PRIORITIES = ("low", "normal", "high", "critical")
TASKS = 20


@dataclass(frozen=True, slots=True)
class Facts:
    """What the event of a number is like."""

    letter: str
    task: int
    priority: Priority
    is_red: bool

    @classmethod
    def of(cls, number: int) -> Facts:
        """Numbers next to each other have nothing in common."""
        bits = number * 2654435761 >> 5
        return cls(
            LETTERS[bits & 15],
            (bits >> 4) % TASKS,
            Priority(bits >> 9 & 3),
            (bits >> 11) % 3 == 0,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """What one subscriber asks for; every condition that is set must hold."""

    letters: str = ""
    tasks: tuple[int, ...] = ()
    priority: int = 0
    red: bool = False

    @property
    def types(self) -> str:
        """As a glob: a new server knows no type by name yet."""
        return f"sequence.[{self.letters or LETTERS}]"

    @property
    def query(self) -> str:
        """For any of the streams."""
        conditions = {"types": self.types}
        if self.tasks:
            conditions["task"] = ",".join(f"t{task}" for task in self.tasks)
        if self.priority:
            conditions["priority"] = PRIORITIES[self.priority]
        if self.red:
            conditions["tag"] = "red"
        return urlencode(conditions)

    def expected(self, count: int) -> list[int]:
        """The numbers of all events it must be given."""
        found = []
        for number in range(1, count + 1):
            facts = Facts.of(number)
            if (
                (not self.letters or facts.letter in self.letters)
                and (not self.tasks or facts.task in self.tasks)
                and facts.priority >= self.priority
                and (not self.red or facts.is_red)
            ):
                found.append(number)
        return found


class Record:
    """Holds what one subscriber is told to the sequence it must be told."""

    def __init__(self, name: str, expected: list[int]) -> None:
        self.name = name
        self._expected = expected
        self._at = 0
        self.position = 0
        self.events = self.gaps = self.dropped = self.skipped = 0
        self.resets: list[str] = []

    @property
    def is_complete(self) -> bool:
        """Whether nothing more may come."""
        return self._at == len(self._expected)

    @property
    def next(self) -> int | None:
        """The number that must come now."""
        return None if self.is_complete else self._expected[self._at]

    def event(self, seq: int, number: int) -> None:
        """An event came."""
        assert seq == number == self.next, (self.name, seq, number, self.next)
        self._at += 1
        self.events += 1
        self.position = seq

    def gap(self, first: int, last: int, dropped: int) -> None:
        """The server says that these were left out; it must be exact."""
        assert first == self.next, (self.name, first, last, dropped, self.next)
        lost = self._skip(last)
        assert lost[-1] == last, (self.name, last, lost[-1])
        assert len(lost) == dropped, (self.name, dropped, len(lost))
        self.gaps += 1
        self.dropped += dropped
        self.position = last

    def reset(self, reason: str, seq: int) -> None:
        """The server says that it has no continuation, and where it goes on."""
        assert seq >= self.position, (self.name, seq, self.position)
        self.skipped += len(self._skip(seq))
        self.resets.append(reason)
        self.position = seq

    def heartbeat(self, seq: int) -> None:
        """The server says that nothing of ours came up to here."""
        assert self.next is None or seq < self.next, (self.name, seq, self.next)
        self.position = max(self.position, seq)

    def _skip(self, last: int) -> list[int]:
        start = self._at
        while self._at < len(self._expected) and self._expected[self._at] <= last:
            self._at += 1
        return self._expected[start : self._at]
