"""JSON Web Tokens: whose they are, if the issuer signed them for us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import msgspec

from praxis_fast.api.access.jwks import KeySet, check_source
from praxis_fast.errors import ConfigError
from praxis_fast.events.access.principal import Attributes, Principal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from praxis_fast.agent.access import JWTConfig
    from praxis_fast.events.access.roles import Roles

MAX_TOKEN = 8 * 1024
MAX_NAME = 128

# The mark of the one key that is no key of a set; no quoted name looks like it.
_SECRET = "!"  # noqa: S105 - a name

# What a token that is none may raise besides PyJWT's own; the last a deep header.
_BROKEN = (ValueError, TypeError, RecursionError)

_NO_PYJWT = "json web tokens need PyJWT: pip install 'praxis-fast[auth]'"


class BadTokenError(Exception):
    """A token that lets nobody in; the text is for the log, not for who sent it."""


class UnknownKeyError(BadTokenError):
    """A token signed with a key we have not seen; the issuer may have a new one."""


class WebTokens:
    """Checks tokens of one issuer.

    The algorithm is one of those configured and fits the key, whatever the token says;
    keys and addresses of keys in a token are never looked at.
    """

    def __init__(
        self,
        config: JWTConfig,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        read: Callable[[str], Awaitable[bytes]] | None = None,
    ) -> None:
        _check(config)
        self._config = config
        self._wall_clock = wall_clock
        self.keys = KeySet(
            config.jwks_url or config.jwks_file or "",
            refresh=config.refresh,
            clock=clock,
            read=read,
        )

    @property
    def has_keys(self) -> bool:
        """Whether there is a key set to be looked at."""
        return bool(self._config.jwks_url or self._config.jwks_file)

    def check(self, data: bytes, roles: Roles) -> Principal:
        """Whose token it is; BadTokenError when it is not good.

        UnknownKeyError when it may be, after another look at the keys.
        """
        import jwt

        if len(data) > MAX_TOKEN:
            raise BadTokenError(f"token of {len(data)} bytes, limit {MAX_TOKEN}")
        try:
            header = jwt.get_unverified_header(data)
            key, mark = self._key(header)
            claims = jwt.decode(
                data,
                key,
                algorithms=[header["alg"]],
                audience=list(self._config.audience),
                issuer=self._config.issuer,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    # By our clock, below.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (*_BROKEN, jwt.exceptions.PyJWTError) as error:
            raise BadTokenError(f"{type(error).__name__}") from None
        expires = self._check_times(claims)
        return self._principal(claims, mark, expires, roles)

    def is_current(self, credential: str) -> bool:
        """Whether the key that signed it is still one of the issuer's."""
        mark = credential.split(":", 2)[1]
        return mark == _SECRET or unquote(mark) in self.keys

    def _key(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        """The key, and what credentials call it."""
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._config.algorithms or "crit" in header:
            raise BadTokenError("algorithm or header not allowed")
        if algorithm == "HS256":
            return self._config.secret, _SECRET
        key = self.keys.find(kid)
        if key is None:
            raise UnknownKeyError("signed with a key nobody knows")
        fits = key.kind in _KINDS[algorithm]
        if not fits or (key.algorithm or algorithm) != algorithm:
            raise BadTokenError("algorithm does not fit the key")
        return key.key, quote(key.kid, safe="")

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        now, leeway = self._wall_clock(), self._config.leeway
        expires = _seconds(claims, "exp") + leeway
        if now >= expires:
            raise BadTokenError("expired")
        if "nbf" in claims and _seconds(claims, "nbf") > now + leeway:
            raise BadTokenError("not valid yet")
        return expires

    def _principal(
        self, claims: Mapping[str, Any], mark: str, expires: float, roles: Roles
    ) -> Principal:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_NAME:
            raise BadTokenError(f"sub is not a text of 1 to {MAX_NAME} letters")
        given = frozenset(name for name in self._roles(claims) if name in roles)
        return Principal(
            name=subject,
            roles=given or frozenset(self._config.default_roles),
            attributes=_attributes(claims.get("praxis")),
            expires=expires,
            credential=f"jwt:{mark}:{claims.get('jti') or ''}",
        )

    def _roles(self, claims: Mapping[str, Any]) -> list[str]:
        found: Any = claims
        for name in self._config.roles_claim.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found.split()
        if not isinstance(found, list):
            return []
        return [name for name in found if isinstance(name, str)]


_KINDS = {
    **dict.fromkeys(("RS256", "RS384", "RS512"), ("RSA",)),
    "ES256": ("EC P-256",),
    "ES384": ("EC P-384",),
    "EdDSA": ("OKP Ed25519", "OKP Ed448"),
}


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadTokenError(f"{name} is no number")
    if not -(2.0**53) < value < 2.0**53:
        raise BadTokenError(f"{name} is no time")
    return float(value)


def _attributes(told: object) -> Attributes:
    """What narrows the view further; a token whose issuer got it wrong is refused."""
    try:
        return msgspec.convert({} if told is None else told, Attributes)
    except msgspec.ValidationError:
        raise BadTokenError("claim praxis is malformed") from None


def _check(config: JWTConfig) -> None:
    def wrong(key: str, message: str) -> ConfigError:
        return ConfigError(message, key=f"access.jwt.{key}")

    try:
        # Imported here: most agents check no tokens.
        import jwt  # noqa: F401
    except ImportError as error:
        raise wrong("issuer", _NO_PYJWT) from error
    if not config.audience:
        raise wrong("audience", "must say for whom tokens are")
    if config.jwks_url is not None:
        check_source(config.jwks_url)
    takes_secret = "HS256" in config.algorithms
    if takes_secret != (config.secret is not None):
        raise wrong(
            "secret", "goes with HS256 in algorithms, neither without the other"
        )
    needs_keys = set(config.algorithms) != {"HS256"}
    sources = [config.jwks_url, config.jwks_file]
    if needs_keys and sources.count(None) != 1:
        raise wrong("jwks_url", "one of jwks_url and jwks_file must be given")
