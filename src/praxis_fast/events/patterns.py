"""What is sensitive by its looks, wherever it stands: patterns over texts.

Nearly no text has any of it, and a regular expression costs a microsecond. So each of
our own patterns names texts (needles) without one of which it finds nothing, and a sign
that is in all of those; looking for the four signs costs tens of nanoseconds each.
Users' patterns have none and are always tried.

All of ours are linear in the text: no run of letters is looked at from two places.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from praxis_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"

# A group of this name is left in front of the mask.
KEPT = "kept"

# Three parts of base64url, the first a JSON object ('{"' is eyJ).
JWT = r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"
# RFC 3986, 3.2.1: what stands before the host. A user name may be a token.
USER_INFO = r"(?<=://)[^\s/?#@\\\"'<>]{1,1024}(?=@)"
# RFC 9110, 11.4, in texts: a header that was printed, or the credentials alone.
AUTHORIZATION = (
    r"(?i)(?P<kept>authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?)"
    r"(?:[a-z][a-z0-9-]{0,31} )?[^\s\"',;]+"
)
BEARER = r"(?i)(?P<kept>(?<![a-z])bearer {1,4})[\w.~+/-]{16,}=*"
# `password=…` of a query or a message, `"password": "…"` of JSON inside of a text.
ASSIGNED = (
    r"(?i)(?P<kept>(?:passwor[dt]|passwd|passphrase|pwd|secret|token"
    r"|(?:api|access|private)[_-]?key)"
    r"(?:=|[\"']\s{0,4}[:=]\s{0,4}))(?:\"[^\"]*\"|'[^']*'|[^\s&\"',;]+)"
)

# The signs and needles of each pattern.
_CLUES = {
    JWT: (("eyJ",), ("eyJ",)),
    USER_INFO: ((":",), ("://",)),
    AUTHORIZATION: ((":", "="), ("uthorization", "UTHORIZATION")),
    BEARER: (("earer ",), ("earer ",)),
    ASSIGNED: ((":", "="), ("=", "':", '":')),
}
DEFAULT_PATTERNS = tuple(_CLUES)

# An empty one is in every text.
_NO_CLUES = (("",), ("",))


class _Finder(NamedTuple):
    signs: tuple[str, ...]
    needles: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str


class Patterns:
    """Finds in texts what some regular expressions say; UsageError for a bad one."""

    __slots__ = ("_finders", "signs")

    def __init__(self, patterns: Iterable[str]) -> None:
        self._finders = tuple(map(_finder, patterns))
        signs = [sign for finder in self._finders for sign in finder.signs]
        self.signs = ("",) if "" in signs else tuple(dict.fromkeys(signs))
        """In a text without any of these nothing is found."""

    def __bool__(self) -> bool:
        return bool(self._finders)

    def mask(self, text: str) -> str:
        """The text with everything masked that is found."""
        for _, needles, pattern, replacement in self._finders:
            for needle in needles:
                if needle in text:
                    text = pattern.sub(replacement, text)
                    break
        return text


def _finder(pattern: str) -> _Finder:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"pattern {pattern!r} cannot be used: {error}") from error
    kept = KEPT in compiled.groupindex
    replacement = rf"\g<{KEPT}>{MASK}" if kept else MASK
    return _Finder(*_CLUES.get(pattern, _NO_CLUES), compiled, replacement)
