"""Bearer tokens and API keys: what a request shows, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from praxis_fast.errors import UsageError
from praxis_fast.events.access.principal import Attributes, Principal
from praxis_fast.events.access.roles import ADMIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set

    from praxis_fast.agent.access import Credential

# More than one way to show a credential is a muddle; many are an attack.
MAX_SHOWN = 4

# What `http.token` is called; its hash is not kept anywhere.
TOKEN = "token"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True)
class Shown:
    """A credential as a request shows it."""

    kind: str
    """bearer or api_key."""
    data: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        """What it is compared by: as good as itself, and of no use to a reader."""
        return sha256(self.data).digest()

    @property
    def is_jwt(self) -> bool:
        """Whether it has the form of a JSON Web Token."""
        return self.data.startswith(b"eyJ") and self.data.count(b".") == 2


def shown_in(headers: Sequence[tuple[bytes, bytes]], query: bytes = b"") -> list[Shown]:
    """The credentials of a request; in the query for streams only.

    Browsers cannot set headers on a WebSocket or an EventSource.
    """
    found: list[Shown] = []
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            found.append(Shown("bearer", value[7:].strip()))
        elif name == b"x-api-key":
            found.append(Shown("api_key", value.strip()))
    if b"token=" in query:
        given = parse_qs(query.decode("latin-1")).get("token", ())
        found += [Shown("bearer", text.encode()) for text in given]
    # Nothing is no credential, whoever has the hash of nothing.
    return [one for one in found if one.data]


class Credentials:
    """Finds principals by the digest of what they show; `revoked` names are gone."""

    def __init__(
        self,
        listed: Iterable[Credential] = (),
        token: str | None = None,
        revoked: Set[str] = frozenset(),
    ) -> None:
        self._known: dict[bytes, Principal] = {}
        for credential in listed:
            if credential.name not in revoked:
                digest = bytes.fromhex(credential.hash)
                if digest in self._known:
                    name = credential.name
                    raise UsageError(f"the hash of credential {name!r} is given twice")
                self._known[digest] = _principal(credential)
        if token is not None:
            self._known[Shown("bearer", token.encode()).digest] = Principal(
                name=TOKEN, roles=frozenset({ADMIN}), credential=TOKEN
            )
        self._named = {known.credential: known for known in self._known.values()}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, digest: bytes) -> Principal | None:
        """Whose credential has this digest.

        Time may tell how a digest begins, and nothing of the token: nobody can choose
        a token for its digest.
        """
        return self._known.get(digest)

    def current(self, credential: str) -> Principal | None:
        """Who a credential stands for now; None when it is gone."""
        return self._named.get(credential)


def _principal(credential: Credential) -> Principal:
    given = {name: getattr(credential, name) for name in Attributes.__struct_fields__}
    return Principal(
        name=credential.name,
        roles=credential.roles,
        attributes=Attributes(**given),
        expires=None if credential.expires is None else credential.expires.timestamp(),
        credential=f"key:{credential.hash}",
    )
