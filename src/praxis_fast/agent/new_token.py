"""A fresh token, and how the agent knows it again."""

from __future__ import annotations

import json
import secrets
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from praxis_fast.events.event import utc_text

if TYPE_CHECKING:
    from collections.abc import Sequence

# Programs that look for secrets where none should be know them by such a beginning.
PREFIX = "pxf_"

_DAY = 86400.0


def new_token(name: str, roles: Sequence[str], days: float | None) -> tuple[str, str]:
    """The token, and its entry in the list of credentials, as YAML."""
    token = PREFIX + secrets.token_urlsafe(32)
    entry: dict[str, Any] = {
        "name": name,
        "hash": sha256(token.encode()).hexdigest(),
        "roles": list(roles),
    }
    if days is not None:
        entry["expires"] = utc_text(time.time() + days * _DAY)
    # JSON is YAML as well, whatever the name is.
    return token, f"- {json.dumps(entry, ensure_ascii=False)}"
