"""What holds at present: credentials, roles, rights and rules, from all places."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from praxis_fast.agent.access import AccessFile
from praxis_fast.api.access.credentials import Credentials
from praxis_fast.api.access.rights import Rights
from praxis_fast.api.access.trusted_file import read_trusted
from praxis_fast.errors import ConfigError, UsageError
from praxis_fast.events.access.policy import EventPolicy
from praxis_fast.events.access.roles import Roles

if TYPE_CHECKING:
    from praxis_fast.agent.access import AccessConfig
    from praxis_fast.events.access.principal import Principal

MAX_FILE = 1024 * 1024


class Standing:
    """The configuration and the access file in one; never changed, only replaced."""

    def __init__(
        self,
        config: AccessConfig,
        more: AccessFile,
        *,
        token: str | None = None,
        policy: EventPolicy | None = None,
        is_guarded: bool = True,
    ) -> None:
        self._revoked = more.revoked
        self.credentials = Credentials(
            (*config.credentials, *more.credentials), token, more.revoked
        )
        self.policy = policy or EventPolicy(
            roles=Roles({**config.roles, **more.roles}),
            rules=(*config.rules, *more.rules),
            segments={**config.segments, **more.segments},
            # Where nobody proves anything there is nobody to clear.
            levels=config.levels if is_guarded else (),
            clearances={**config.clearances, **more.clearances} if is_guarded else {},
        )
        self._rights = Rights(self.policy.roles, {**config.rights, **more.rights})

    def rights_of(self, principal: Principal) -> frozenset[str]:
        """What somebody may do."""
        return self._rights.of(self.policy.roles.held_by(principal.roles))

    def revokes(self, principal: Principal) -> bool:
        """Whether the principal, or this very token, is refused by name."""
        # A `jti` may have colons of its own.
        token = principal.credential.split(":", 2)[-1]
        return principal.name in self._revoked or token in self._revoked


class AccessFileReader:
    """Reads the access file, and knows whether it is another one by now."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    @property
    def has_changed(self) -> bool:
        """Whether the file is another one than was read last; gone counts as well."""
        return self._signature() != self._seen

    def read(self) -> AccessFile:
        """What the file says; ConfigError when it says nothing that can be used."""
        # Before reading: what is written meanwhile is read the next time.
        self._seen = self._signature()
        try:
            data = read_trusted(self._path, MAX_FILE)
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror or error}") from error
        return self._parse(data)

    def _parse(self, data: bytes) -> AccessFile:
        from praxis_fast.agent.yaml_layer import parse_yaml

        values = {
            key: entry.value
            for key, entry in parse_yaml(data, self._path, frozenset()).items()
        }
        if not values and data.strip() != b"{}":
            # So it looks while it is written: all it revokes and denies is gone.
            raise self._error("says nothing; write {} if that is meant")
        try:
            return msgspec.convert(values, AccessFile)
        except msgspec.ValidationError as error:
            raise self._error(str(error).replace("`", "")) from error

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _error(self, message: str) -> ConfigError:
        return ConfigError(message, file=self._path)


def as_config_error(error: UsageError) -> ConfigError:
    """What no single setting says wrong, told as a fault of the whole section."""
    return ConfigError(str(error), key="access")
