"""Who may come in: Host and Origin, credentials, rights (WS-2, HTTP-5, BUS-1).

    request ─► host, origin ─► credential ─► whose? ─► right for the route ─► principal
                  403             429         401             403

As long as nothing is configured everybody who reaches us may do everything, and sees
what a guest sees. Once something is, nobody gets in without a credential, or as a guest
where that is allowed.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from praxis_fast.agent.access import AccessConfig, AccessFile
from praxis_fast.api.access.credentials import MAX_SHOWN, TOKEN, shown_in
from praxis_fast.api.access.failed_logins import FailedLogins
from praxis_fast.api.access.hosts import Hosts, header_values, is_loopback, split_host
from praxis_fast.api.access.rights import RIGHTS, needed
from praxis_fast.api.access.standing import AccessFileReader, Standing, as_config_error
from praxis_fast.api.access.web_tokens import BadTokenError, UnknownKeyError, WebTokens
from praxis_fast.errors import ConfigError, UsageError
from praxis_fast.events.access.principal import Principal
from praxis_fast.limits import HTTPLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from praxis_fast.api.access.credentials import Shown
    from praxis_fast.api.access.proxies import Proxies
    from praxis_fast.events.access.policy import EventPolicy
    from praxis_fast.events.filter import EventFilter

logger = logging.getLogger(__name__)

ANONYMOUS = "anonymous"

_NOT_VALID = "a valid bearer token or api key is needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request, as far as it matters for letting it in."""

    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    """With lower-case names."""
    path: str = "/events"
    method: str = "GET"
    query: bytes = field(default=b"", repr=False)
    """Empty where a credential in the query does not count."""
    local: str | None = None
    """The address of ours that the client connected to."""
    client: str | None = None
    """The client's own address."""
    right: str | None = None
    """What is asked for, where that is no matter of the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request gets no answer but this one."""

    status: int
    message: str
    reason: str = ""
    """What events tell of it; empty where credentials are not concerned."""
    kind: str = "none"
    """How a credential was shown."""
    who: str | None = None
    """Whose credential it was, if it was any."""
    retry_after: int | None = None
    may_change: bool = False
    """Whether another look at the issuer's keys may tell otherwise."""

    @property
    def title(self) -> str:
        """The short name of what went wrong."""
        return HTTPStatus(self.status).phrase.lower()

    @property
    def headers(self) -> dict[str, str]:
        """What goes along with the answer."""
        if self.status == HTTPStatus.UNAUTHORIZED:
            return {"WWW-Authenticate": "Bearer"}
        if self.retry_after is not None:
            return {"Retry-After": str(self.retry_after)}
        return {}


class Access:
    """Decides about requests, and knows what became of those it let in.

    A page of another site must not reach us through its visitor's browser: the Host
    must be ours (else a name of theirs was rebound to our address), and an Origin,
    which every browser sends, must be the same host and port or listed. No Origin means
    no browser, and is allowed.

    `authenticate` is for programs that know their clients themselves; its None is
    nobody. `policy` takes the place of the configured rules. With `is_local` only
    programs of this machine get in, whatever the server listens on.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        token: str | None = None,
        config: AccessConfig | None = None,
        policy: EventPolicy | None = None,
        authenticate: Callable[[Visit], Principal | None] | None = None,
        is_local: bool = False,
        limits: HTTPLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if token == "":
            raise ConfigError("token is empty", key="http.token")
        if inspect.iscoroutinefunction(authenticate):
            raise UsageError("authenticate must not be async")
        self._config = config = config or AccessConfig()
        self._hosts = Hosts(host, hosts, origins)
        self._is_local = is_local
        self._token = token
        self._own_policy = policy
        self._authenticate = authenticate
        self._wall_clock = wall_clock
        self._web_tokens: WebTokens | None = None
        if config.jwt.issuer is not None:
            self._web_tokens = WebTokens(config.jwt, clock=clock, wall_clock=wall_clock)
        self.is_guarded = bool(
            token is not None
            or config.credentials
            or config.file
            or config.anonymous
            or self._web_tokens
            or authenticate
        )
        """Whether anything says who may come in."""
        self._file = AccessFileReader(config.file) if config.file else None
        self._standing = self._stand(self._file.read() if self._file else AccessFile())
        self._reading = asyncio.Lock()
        self._failed = FailedLogins(limits or HTTPLimits(), clock)
        self.on_denied: Callable[[Visit, Refusal], None] | None = None
        """Hears of every refusal that concerns credentials."""
        self.on_fault: Callable[[str], None] | None = None
        """Hears why a changed file changes nothing."""
        self.on_change: list[Callable[[], None]] = []
        """Called when who may do what has changed."""
        self.proxies: Proxies | None = None
        """Who may say in a header for whom it asks; without them nobody may."""
        self.denied = {401: 0, 403: 0, 429: 0}
        """How many requests were refused for their credentials, by status."""

    @property
    def policy(self) -> EventPolicy:
        """Who may see what, at present."""
        return self._standing.policy

    @property
    def visitor(self) -> Principal:
        """Whoever shows no credential where none is needed."""
        return _VISITOR

    # letting in

    def judge(
        self, visit: Visit, *, known: Principal | None = None
    ) -> Principal | Refusal:
        """Who comes in, or why not; a refusal is counted and told.

        One that may change is neither: `admit` looks further. `known` is who an
        application around us says it is.
        """
        address = visit.client
        if self.proxies is not None:
            visit = replace(
                visit, client=self.proxies.client_of(address, visit.headers)
            )
        verdict = self._refuse_foreign(visit) or known or self._identify(visit)
        if isinstance(verdict, Principal):
            verdict = self._check_standing(visit, verdict)
        if isinstance(verdict, Refusal):
            if verdict.reason and not verdict.may_change:
                self._tell(visit, verdict)
        elif visit.client != address:
            # Its connection will not tell it again.
            verdict = replace(verdict, address=visit.client)
        return verdict

    async def admit(
        self, visit: Visit, *, known: Principal | None = None
    ) -> Principal | Refusal:
        """The same, with another look at the issuer's keys where that may help."""
        verdict = self.judge(visit, known=known)
        while isinstance(verdict, Refusal) and verdict.may_change:
            assert self._web_tokens is not None
            await self._web_tokens.keys.refresh()
            # The next look is a while away, so this ends.
            verdict = self.judge(visit, known=known)
        return verdict

    def friend(self, visit: Visit) -> str | None:
        """The origin of the page that asks, when it may ask us at all."""
        origins = header_values(visit.headers, b"origin")
        is_welcome = origins and self._refuse_foreign(visit) is None
        return origins[0] if is_welcome else None

    def rights(self, principal: Principal) -> frozenset[str]:
        """What somebody may do."""
        return self._standing.rights_of(principal) if self.is_guarded else RIGHTS

    def current(self, principal: Principal) -> Principal | None:
        """Who somebody let in before is now; None when they may stay no longer."""
        if principal.is_expired(self._wall_clock()) or self._standing.revokes(
            principal
        ):
            return None
        kind = principal.credential.partition(":")[0]
        if kind == "jwt" and self._web_tokens is not None:
            is_signed = self._web_tokens.is_current(principal.credential)
            return principal if is_signed else None
        return self._lasting(principal)

    def visible(self, owner: Principal, wanted: EventFilter) -> EventFilter | None:
        """What somebody may see now of what is wanted by something they left here.

        None when they are gone. A web token may end, and its key; what was set up with
        it stays until its `sub` or `jti` is revoked.
        """
        now = None if self._standing.revokes(owner) else self._lasting(owner)
        return None if now is None else self.policy.filter(now, wanted)

    def _lasting(self, principal: Principal) -> Principal | None:
        if principal.credential.partition(":")[0] not in ("key", TOKEN):
            return principal
        found = self._standing.credentials.current(principal.credential)
        if found is None or found.is_expired(self._wall_clock()):
            return None
        return self._placed(found, principal.address)

    # what changes

    @property
    def are_keys_due(self) -> bool:
        """Whether the issuer's keys are to be looked at again."""
        tokens = self._web_tokens
        return tokens is not None and tokens.has_keys and tokens.keys.is_due

    @property
    def is_file_changed(self) -> bool:
        """Whether the access file is to be read again."""
        return self._file is not None and self._file.has_changed

    @property
    def is_stale(self) -> bool:
        """Whether there is something to be read again."""
        return self.are_keys_due or self.is_file_changed

    def now(self) -> float:
        """Epoch seconds, as credentials expire."""
        return self._wall_clock()

    async def refresh(self, *, is_forced: bool = False) -> bool:
        """Read again what has changed, or all; whether anything was read."""
        is_read = await self.refresh_file(is_forced=is_forced)
        return await self.refresh_keys(is_forced=is_forced) or is_read

    async def refresh_file(self, *, is_forced: bool = False) -> bool:
        """The same for the access file, which waits for no issuer."""
        # One at a time: what was read later must not give way to what was read before.
        async with self._reading:
            if self._file is None or not (is_forced or self._file.has_changed):
                return False
            if not await self._read_again(self._file):
                return False
        self._tell_change()
        return True

    async def refresh_keys(self, *, is_forced: bool = False) -> bool:
        """The same for the issuer's keys."""
        tokens = self._web_tokens
        if tokens is None or not tokens.has_keys:
            return False
        if not (tokens.keys.is_due or is_forced):
            return False
        await tokens.keys.refresh()
        self._tell_change()
        return True

    def _tell_change(self) -> None:
        for listener in tuple(self.on_change):
            listener()

    async def _read_again(self, file: AccessFileReader) -> bool:
        try:
            self._standing = self._stand(await asyncio.to_thread(file.read))
        except ConfigError as error:
            # Half a file must not let anybody in, nor throw everybody out.
            text = f"access file not read, what was read before holds: {error}"
            logger.error("%s", text)
            if self.on_fault is not None:
                self.on_fault(text)
            return False
        logger.info("access file read again")
        return True

    def _stand(self, more: AccessFile) -> Standing:
        try:
            return Standing(
                self._config,
                more,
                token=self._token,
                policy=self._own_policy,
                is_guarded=self.is_guarded,
            )
        except UsageError as error:
            raise as_config_error(error) from error

    # inside

    def _refuse_foreign(self, visit: Visit) -> Refusal | None:
        # Without an address it came by a socket in the file system.
        is_near = visit.client is None or is_loopback(visit.client)
        if self._is_local and not is_near:
            text = "only programs of this machine are served"
            return Refusal(status=403, message=text)
        hosts = header_values(visit.headers, b"host")
        host = split_host(hosts[0].lower()) if len(hosts) == 1 else None
        if host is None:
            text = "exactly one valid host header is needed"
            return Refusal(status=400, message=text)
        if not self._hosts.is_ours(host[0], visit.local):
            text = f"host {host[0][:128]} is not served here"
            return Refusal(status=403, message=text)
        origins = header_values(visit.headers, b"origin")
        is_alone = len(origins) == 1
        if origins and not (is_alone and self._hosts.is_friend(origins[0], host)):
            text = f"origin {origins[0][:128]} is not allowed"
            return Refusal(status=403, message=text)
        return None

    def _identify(self, visit: Visit) -> Principal | Refusal:
        if not self.is_guarded:
            return _VISITOR
        if self._authenticate is not None:
            found: object = self._authenticate(visit)
            if isinstance(found, Principal):
                return found
            if found:
                kind = type(found).__name__
                raise UsageError(f"authenticate gave a {kind}, no principal")
        shown = shown_in(visit.headers, visit.query)
        if not shown:
            if self._config.anonymous:
                return self._placed(_VISITOR, visit.client)
            return Refusal(status=401, message=_NOT_VALID, reason="missing")
        if len(shown) > MAX_SHOWN:
            text = f"{len(shown)} credentials, limit {MAX_SHOWN}"
            return Refusal(status=401, message=text, reason="too many")
        return self._try(visit, shown)

    def _try(self, visit: Visit, shown: list[Shown]) -> Principal | Refusal:
        wait = self._failed.wait(visit.client)
        if wait is not None:
            shown = [s for s in shown if self._failed.is_proven(visit.client, s.digest)]
        refusals: list[Refusal] = []
        for one in shown:
            found = self._whose(one)
            if isinstance(found, Principal):
                self._failed.prove(visit.client, one.digest, found.name)
                # What was tried before it was a guess all the same.
                self._failed.add(visit.client, len(refusals))
                return self._placed(found, visit.client)
            refusals.append(found)
        for refusal in refusals:
            if refusal.may_change:
                return refusal
        if wait is not None:
            text = f"too many failed logins, try again in {wait} s"
            return Refusal(
                status=429, message=text, reason="throttled", retry_after=wait
            )
        self._failed.add(visit.client, len(refusals))
        return refusals[0]

    def _whose(self, shown: Shown) -> Principal | Refusal:
        may_change = False
        try:
            found = self._standing.credentials.find(shown.digest)
            kind = shown.kind
            if found is None and shown.is_jwt and self._web_tokens is not None:
                kind = "jwt"
                found = self._web_tokens.check(shown.data, self.policy.roles)
            if found is not None and self._standing.revokes(found):
                found = None
            if found is not None and not found.is_expired(self._wall_clock()):
                return found
            reason = "unknown" if found is None else "expired"
        except UnknownKeyError as error:
            reason, may_change = str(error), self._may_look_again
        except BadTokenError as error:
            reason = str(error)
        return Refusal(
            status=401,
            message=_NOT_VALID,
            reason=reason,
            kind=kind,
            may_change=may_change,
        )

    @property
    def _may_look_again(self) -> bool:
        tokens = self._web_tokens
        return tokens is not None and tokens.has_keys and tokens.keys.may_look_again

    def _check_standing(
        self, visit: Visit, principal: Principal
    ) -> Principal | Refusal:
        if self._standing.revokes(principal):
            return Refusal(
                status=401, message=_NOT_VALID, reason="revoked", who=principal.name
            )
        right = visit.right or needed(visit.method, visit.path)
        if right in self.rights(principal):
            return principal
        return Refusal(
            status=403,
            message=f"the right {right} is needed",
            reason=f"no right {right}",
            who=principal.name,
        )

    def _tell(self, visit: Visit, refusal: Refusal) -> None:
        self.denied[refusal.status] += 1
        if self.on_denied is not None:
            self.on_denied(visit, refusal)

    def _placed(self, principal: Principal, address: str | None) -> Principal:
        """With the client's address, where a rule asks for it."""
        if not self.policy.asks_for_address or principal.address == address:
            return principal
        return replace(principal, address=address)


_VISITOR = Principal(name=ANONYMOUS)
