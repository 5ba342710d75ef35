"""Settings of who may come in and who may see what."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import Annotated, Literal

from msgspec import Meta, Struct

from praxis_fast.events.access.policy import CLEARANCES, LEVELS
from praxis_fast.events.access.principal import Attributes
from praxis_fast.events.access.rule import Rule  # noqa: TC001

RoleName = Annotated[str, Meta(min_length=1, max_length=64)]
RoleNames = tuple[RoleName, ...]

Algorithm = Literal["RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA", "HS256"]

# HS256 needs a secret that both sides hold; who only checks tokens better holds none.
DEFAULT_ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")


class Credential(Attributes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bearer token or API key, known by its hash; see `praxis-fast token new`."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    """Who shows it, in events and the audit log."""
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the token, hexadecimal."""
    roles: frozenset[RoleName]
    expires: Annotated[datetime, Meta(tz=True)] | None = None
    """With a time zone, such as 2027-01-01T00:00:00Z."""


class AccessFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `access.file` may hold; it is read again whenever it changes."""

    credentials: tuple[Credential, ...] = ()
    roles: dict[RoleName, RoleNames] = {}
    rights: dict[RoleName, tuple[str, ...]] = {}
    rules: tuple[Rule, ...] = ()
    segments: dict[str, tuple[str, ...]] = {}
    clearances: dict[RoleName, str] = {}
    revoked: frozenset[str] = frozenset()
    """Names of credentials, and `sub` or `jti` of JSON Web Tokens, refused from now."""


@dataclass(frozen=True, kw_only=True)
class JWTConfig:
    """JSON Web Tokens; needs the extra `auth`."""

    issuer: Annotated[
        str | None, Meta(description="the `iss` of tokens let in; none: no tokens")
    ] = None
    audience: Annotated[
        tuple[str, ...], Meta(description="a token's `aud` holds one of these")
    ] = ()
    jwks_url: Annotated[
        str | None, Meta(description="where the issuer's keys are, https")
    ] = None
    jwks_file: Annotated[str | None, Meta(description="the keys in a file")] = None
    algorithms: Annotated[
        tuple[Algorithm, ...], Meta(description="signatures let in")
    ] = DEFAULT_ALGORITHMS
    secret: Annotated[
        Annotated[str, Meta(min_length=32)] | None,
        Meta(description="for HS256 alone; secret, not printed"),
    ] = field(default=None, repr=False)
    leeway: Annotated[
        float, Meta(ge=0, le=300, description="s that clocks may differ")
    ] = 30.0
    roles_claim: Annotated[
        str, Meta(description="the claim with the roles; dots go into objects")
    ] = "roles"
    default_roles: Annotated[
        RoleNames, Meta(description="roles of a token that names none we know")
    ] = ()
    refresh: Annotated[
        float, Meta(ge=10, le=86400, description="s between looks at the keys")
    ] = 300.0


@dataclass(frozen=True, kw_only=True)
class AccessConfig:
    """Who may come in, and who may see what."""

    file: Annotated[
        str | None, Meta(description="YAML with more of this, read when it changes")
    ] = None
    anonymous: Annotated[
        bool, Meta(description="without a credential one is a guest, not refused")
    ] = False
    credentials: Annotated[
        tuple[Credential, ...], Meta(description="tokens and API keys by their hash")
    ] = ()
    roles: Annotated[
        dict[RoleName, RoleNames],
        Meta(description="more roles, each with those it inherits"),
    ] = field(default_factory=dict)
    rights: Annotated[
        dict[RoleName, tuple[str, ...]],
        Meta(description="what a role may do, in place of the default"),
    ] = field(default_factory=dict)
    rules: Annotated[
        tuple[Rule, ...], Meta(description="who may see which events")
    ] = ()
    segments: Annotated[
        dict[str, tuple[str, ...]],
        Meta(description="names of network segments and their networks"),
    ] = field(default_factory=dict)
    levels: Annotated[
        tuple[str, ...], Meta(description="sensitivities, harmless first")
    ] = LEVELS
    clearances: Annotated[
        dict[RoleName, str], Meta(description="the highest level a role sees")
    ] = field(default_factory=lambda: dict(CLEARANCES))
    jwt: JWTConfig = field(default_factory=JWTConfig)
