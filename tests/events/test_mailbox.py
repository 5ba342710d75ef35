from __future__ import annotations

import pytest

from praxis_fast.errors import UsageError
from praxis_fast.events.event import Event
from praxis_fast.events.mailbox import Mailbox


def event(seq: int, kind: str = "t", **fields: str) -> Event:
    return Event(kind, epoch="e", seq=seq, **fields)  # type: ignore[arg-type]


def drain(mailbox: Mailbox) -> list[int | tuple[int, int, int]]:
    """Sequence numbers, and gaps as (from, to, dropped)."""
    taken: list[int | tuple[int, int, int]] = []
    while (item := mailbox.take()) is not None:
        if item.type == "gap":
            data = item.data
            taken.append((data["from"], data["to"], data["dropped"]))
        else:
            taken.append(item.seq)
    return taken


def test_mailbox_keeps_order_when_within_its_bound() -> None:
    mailbox = Mailbox("drop_oldest", 3)
    assert all(mailbox.put(event(seq)) for seq in (1, 2, 3))
    assert drain(mailbox) == [1, 2, 3]


def test_mailbox_says_the_gap_first_when_the_oldest_were_dropped() -> None:
    mailbox = Mailbox("drop_oldest", 2)
    for seq in (1, 4, 5, 9):
        assert mailbox.put(event(seq))
    assert drain(mailbox) == [(1, 4, 2), 5, 9]


def test_mailbox_says_each_gap_once() -> None:
    mailbox = Mailbox("drop_oldest", 1)
    for seq in (1, 2):
        mailbox.put(event(seq))
    assert drain(mailbox) == [(1, 1, 1), 2]
    for seq in (3, 4, 5):
        mailbox.put(event(seq))
    assert drain(mailbox) == [(3, 4, 2), 5]


def test_gap_is_an_event_of_the_same_epoch() -> None:
    mailbox = Mailbox("drop_oldest", 1)
    for seq in (1, 2):
        mailbox.put(event(seq))
    gap = mailbox.take()
    assert gap is not None
    assert (gap.type, gap.epoch, gap.seq) == ("gap", "e", 1)


def test_mailbox_takes_no_more_when_over_its_bound_under_disconnect() -> None:
    mailbox = Mailbox("disconnect", 2)
    assert mailbox.put(event(1))
    assert mailbox.put(event(2))
    assert not mailbox.put(event(3))
    assert not mailbox.put(event(4))
    assert mailbox.expelled is not None
    assert mailbox.expelled.seq == 3
    assert drain(mailbox) == [1, 2]


def test_mailbox_keeps_the_newest_of_a_topic_under_coalesce() -> None:
    mailbox = Mailbox("coalesce", 10)
    mailbox.put(event(1, peer_id="a"))
    mailbox.put(event(2, peer_id="b"))
    mailbox.put(event(3, peer_id="a"))
    assert drain(mailbox) == [(1, 1, 1), 2, 3]


def test_mailbox_is_bounded_under_coalesce_when_topics_are_many() -> None:
    mailbox = Mailbox("coalesce", 2)
    for seq in range(1, 6):
        mailbox.put(event(seq, peer_id=str(seq)))
    assert len(mailbox) == 2
    assert drain(mailbox) == [(1, 3, 3), 4, 5]


def test_mailbox_forgets_when_closed_and_keeps_when_finished() -> None:
    closed, finished = Mailbox("drop_oldest", 2), Mailbox("drop_oldest", 2)
    for mailbox in (closed, finished):
        mailbox.put(event(1))
    closed.close()
    finished.finish()
    assert not closed.put(event(2))
    assert not finished.put(event(2))
    assert drain(closed) == []
    assert drain(finished) == [1]


def test_mailbox_wakes_its_reader_when_something_happens() -> None:
    calls: list[int] = []
    mailbox = Mailbox("drop_oldest", 2)
    mailbox.wake = lambda: calls.append(len(mailbox))
    mailbox.put(event(1))
    mailbox.finish()
    mailbox.close()
    assert calls == [1, 1, 0]


def test_mailbox_refuses_an_unknown_policy() -> None:
    with pytest.raises(UsageError, match="'block' is not one of disconnect"):
        Mailbox("block", 1)  # type: ignore[arg-type]


def test_mailbox_refuses_a_bound_of_nothing() -> None:
    with pytest.raises(UsageError, match="max_events is 0, at least 1"):
        Mailbox("drop_oldest", 0)
