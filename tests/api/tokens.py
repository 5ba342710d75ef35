"""Credentials for tests: tokens by hash, and web tokens signed with keys made here."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from praxis_fast.agent.access import Credential

NOW = 1_800_000_000.0
ISSUER, AUDIENCE = "https://issuer.example", "agent"


def credential(name: str, *roles: str, **more: Any) -> Credential:
    """Whoever shows `<name>-token`."""
    told = {"hash": sha256(f"{name}-token".encode()).hexdigest()} | more
    return Credential(name=name, roles=frozenset(roles), **told)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-token"}


class SigningKey:
    """A key of the issuer, and its public half as a JWKS has it."""

    def __init__(self, kid: str, algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self._key: Any
        if algorithm.startswith("RS"):
            self._key = rsa.generate_private_key(65537, 2048)
            public = RSAAlgorithm.to_jwk(self._key.public_key())
        elif algorithm == "EdDSA":
            self._key = ed25519.Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(self._key.public_key())
        else:
            curve = ec.SECP256R1() if algorithm == "ES256" else ec.SECP384R1()
            self._key = ec.generate_private_key(curve)
            public = ECAlgorithm.to_jwk(self._key.public_key())
        self.public = json.loads(public) | {"kid": kid, "use": "sig"}

    def sign(self, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        told = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ann",
            "exp": NOW + 600,
            "roles": ["user"],
        } | claims
        told = {name: value for name, value in told.items() if value is not None}
        headers = {"kid": self.kid} | (headers or {})
        return jwt.encode(told, self._key, self.algorithm, headers=headers)


def key_set(*keys: SigningKey) -> bytes:
    return json.dumps({"keys": [key.public for key in keys]}).encode()
