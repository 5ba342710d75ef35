"""The catalogue for people: `python -m praxis_fast.events.catalogue_page` prints it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, get_type_hints

from praxis_fast.events.catalogue import CATALOGUE, STREAM_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from praxis_fast.events.catalogue import EventKind

_HEAD = """\
# Events

Made from the catalogue by `python -m praxis_fast.events.catalogue_page`; the same for
programs is `GET /events/schema`. Emitter `application` means that users' code publishes
it; any other name may be published too. A priority is what an event has unless its
publisher says otherwise. Payload keys may be absent."""


def page() -> str:
    """The whole text of docs/events.md."""
    kinds = (*CATALOGUE.values(), *STREAM_KINDS.values())
    return "\n".join([_HEAD, *_table(kinds), "", "## Payloads", *_payloads(kinds), ""])


def _table(kinds: Iterable[EventKind]) -> Iterator[str]:
    yield ""
    yield "| type | when | emitter | priority | payload |"
    yield "|---|---|---|---|---|"
    for kind in kinds:
        name = kind.payload.__name__
        link = f"[{name}](#{name.lower()})"
        yield (
            f"| `{kind.name}` | {kind.about} | {kind.emitter} "
            f"| {kind.priority} | {link} |"
        )


def _payloads(kinds: Iterable[EventKind]) -> Iterator[str]:
    for payload in dict.fromkeys(kind.payload for kind in kinds):
        yield ""
        yield f"### {payload.__name__}"
        yield ""
        yield str(payload.__doc__)
        yield ""
        hints = get_type_hints(payload)
        yield ", ".join(f"`{key}` {_type_name(hint)}" for key, hint in hints.items())


def _type_name(hint: Any) -> str:
    name = hint.__name__ if isinstance(hint, type) else str(hint)
    name = str(hint) if "[" in str(hint) else name
    return name.replace("typing.", "").replace("praxis_fast.events.payload_types.", "")


if __name__ == "__main__":
    sys.stdout.write(page())
