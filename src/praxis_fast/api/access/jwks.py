"""The keys of an issuer of JSON Web Tokens, fetched and kept."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from praxis_fast.api.access.fetch import fetch
from praxis_fast.api.access.hosts import is_loopback
from praxis_fast.api.access.trusted_file import read_trusted
from praxis_fast.errors import ConfigError, MessageError
from praxis_fast.wire.json_text import decode_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

_PLAIN = re.compile(r"[!-~]+")

MAX_BYTES = 256 * 1024
MAX_KEYS = 64
MIN_RSA_BITS = 2048
FETCH_TIMEOUT = 10.0

# A key nobody knows makes us look again, at most this often.
MIN_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class SignatureKey:
    """A public key of the issuer."""

    kid: str
    kind: str
    """`kty` and, of curves, `crv`: "RSA", "EC P-256", "OKP Ed25519"."""
    algorithm: str | None
    """The one it is for, if it says so."""
    key: Any


class KeySet:
    """Keys by their `kid`, from a URL or a file.

    When they cannot be had again those we have go on; what went wrong is in the log.
    """

    def __init__(
        self,
        source: str,
        *,
        refresh: float,
        clock: Callable[[], float],
        read: Callable[[str], Awaitable[bytes]] | None = None,
    ) -> None:
        self._source = source
        self._refresh = refresh
        self._clock = clock
        self._read = read or read_source
        self._keys: dict[str, SignatureKey] = {}
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self.failures = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, kid: object) -> bool:
        return kid in self._keys

    def find(self, kid: str | None) -> SignatureKey | None:
        """The key of this name; a token without one fits a lone key."""
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    @property
    def may_look_again(self) -> bool:
        """Whether a look is under way, or it is time for another."""
        if self._fetching is not None or self._tried_at is None:
            return True
        return self._clock() - self._tried_at >= MIN_PAUSE

    @property
    def is_due(self) -> bool:
        """Whether the keys are old."""
        return self._tried_at is None or self._clock() - self._tried_at >= self._refresh

    async def refresh(self) -> None:
        """Get the keys anew; callers at the same time share one look."""
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._on_fetched)
        await asyncio.shield(self._fetching)

    async def close(self) -> None:
        """Wait for a look that is under way."""
        if self._fetching is not None:
            await asyncio.wait({self._fetching})

    def _on_fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        # The pause is between looks: a slow issuer would be looked at for ever.
        self._tried_at = self._clock()

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                data = await self._read(self._source)
            self._keys = parse_keys(data)
        except (OSError, MessageError) as error:  # a TimeoutError is an OSError
            self.failures += 1
            logger.warning("keys of json web tokens not read: %s", error)


def parse_keys(data: bytes) -> dict[str, SignatureKey]:
    """The public signature keys of a JWKS; MessageError when it is none.

    Keys of kinds nobody here knows are passed over, as the standard says.
    """
    document = decode_json(data)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise MessageError(f"a key set is an object with up to {MAX_KEYS} keys")
    found = [_parse_key(told) for told in listed if _is_signature_key(told)]
    return {key.kid: key for key in found if key is not None}


def _is_signature_key(told: Any) -> bool:
    # A symmetric or private key in there would let everybody who reads it sign.
    return (
        isinstance(told, dict)
        and told.get("kty") in ("RSA", "EC", "OKP")
        and told.get("use", "sig") == "sig"
        and "d" not in told
    )


def _parse_key(told: dict[str, Any]) -> SignatureKey | None:
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    try:
        key = PyJWK(told).key
    # The last is said of a key for the algorithm "none".
    except (PyJWTError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        logger.warning("a key is passed over: %s", type(error).__name__)
        return None
    if told["kty"] == "RSA" and key.key_size < MIN_RSA_BITS:
        logger.warning("an rsa key of %d bits is passed over", key.key_size)
        return None
    kind = " ".join(str(told[name]) for name in ("kty", "crv") if name in told)
    algorithm = told.get("alg")
    return SignatureKey(str(told.get("kid", "")), kind, algorithm, key)


def check_source(url: str) -> None:
    """Refuse a URL over which anybody could hand us keys of theirs."""

    def wrong(message: str) -> ConfigError:
        return ConfigError(message, key="access.jwt.jwks_url")

    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise wrong(str(error)) from error
    is_local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not is_local:
        raise wrong("must begin with https://")
    if not (has_host and _PLAIN.fullmatch(url)) or "@" in parts.netloc:
        raise wrong("must be https://host/path, in ascii and without a user")


async def read_source(source: str) -> bytes:
    """The bytes of a URL or a file; OSError when there are none."""
    if "://" in source:
        return await fetch(source, MAX_BYTES)
    return await asyncio.to_thread(read_trusted, source, MAX_BYTES)
