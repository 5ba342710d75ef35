"""Texts as a database takes them."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text with lone surrogates spelled out, which have no UTF-8.

    Users' texts may hold them, and one would undo every write of its batch.
    """
    return text.encode(errors="backslashreplace").decode()
