"""Where the principal of a request stands in its ASGI scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praxis_fast.events.access.principal import Principal

if TYPE_CHECKING:
    from starlette.types import Scope

# Put there by our door, or before it by an application that knows its clients itself.
PRINCIPAL = "praxis_fast.principal"


def told_principal(scope: Scope) -> Principal | None:
    """Whom an application around us found the client to be: in its scope or state."""
    told = scope.get(PRINCIPAL) or scope.get("state", {}).get(PRINCIPAL)
    return told if isinstance(told, Principal) else None


def principal_of(scope: Scope) -> Principal:
    """Whom the door let in."""
    found = scope[PRINCIPAL]
    assert isinstance(found, Principal)
    return found
