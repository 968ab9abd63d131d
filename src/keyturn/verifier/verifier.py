"""Verification: decided in memory where the credential is known, loaded and checked where it is not.

`decide` never waits and never reads a store. When it can't answer it returns a Miss, which says what is needed: a
read of the log (`STALE`) or a look-up (`COLD`). `authenticate` does both in the caller's thread; a server does them
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from hashlib import sha256
from typing import Final, TypeVar

from keyturn.crypto.digests import token_digest
from keyturn.domain import token as tokens
from keyturn.domain.foreign import may_be_foreign
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.domain.token import ParsedToken
from keyturn.domain.verdict import Code, Verification
from keyturn.errors import ConfigurationError, IntegrityError, KeyturnError, shown
from keyturn.measures import Tally
from keyturn.ports.clock import Clock
from keyturn.records.records import Records
from keyturn.verifier.cache import Cache
from keyturn.verifier.decision import Demand, judge
from keyturn.verifier.entries import Entry
from keyturn.verifier.foreign import ForeignLoader, Imports, Uncomputed
from keyturn.verifier.loading import Loaded, Loader
from keyturn.verifier.throttle import Throttle
from keyturn.verifier.uses import Uses

DEFAULT_MAX_STALENESS: Final = 1.0  # seconds
MAX_STALENESS_RANGE: Final = (
    0.1,
    60.0,
)  # below it every request would read the log; above it nothing is bounded
_LOAD_ATTEMPTS: Final = 3
_T = TypeVar("_T")
_VALID: Final = Code.VALID  # as in `keyturn.verifier.decision`


def check_staleness(seconds: float) -> float:
    """A bound on staleness; ConfigurationError for one that bounds nothing, or that would have every request read."""
    low, high = MAX_STALENESS_RANGE
    if type(seconds) not in (int, float) or not low <= seconds <= high:  # nor is NaN
        raise ConfigurationError(
            f"a bound of {shown(seconds)} on staleness",
            fix=f"Use seconds from {low} to {high:.0f}; the default is 1.",
        )
    return seconds


class Miss(Enum):
    """Why `decide` could not answer from memory."""

    STALE = "stale"
    COLD = "cold"


class Verifier:
    """Decides on credentials for one process.

    Attributes:
        max_staleness: seconds since the start of the last completed read of the log within which it decides.
        asked_at: steady time of the latest decision.
        loads: look-ups in the store, by whether they found something.
        imports: whether the store has tokens that were issued elsewhere.
    """

    def __init__(
        self,
        *,
        records: Records,
        uses: Uses,
        clock: Clock,
        cache: Cache,
        max_staleness: float = DEFAULT_MAX_STALENESS,
    ) -> None:
        self._log = records.log
        self._uses = uses
        self._steady = clock.steady
        self._nanos = clock.nanos
        self._cache = cache
        self._throttle = Throttle()
        self.max_staleness = check_staleness(max_staleness)
        self.asked_at = clock.steady()
        self.loads = Tally()
        self.imports = Imports(records)
        self._loader = Loader(records=records, cache=cache)
        self._foreign = ForeignLoader(records=records, cache=cache, loader=self._loader, clock=clock)
        self._answers_after_load = 0
        self._log.listen(cache.drop)

    def start_afresh(self) -> None:
        """Go on in a forked child."""
        self._cache.start_afresh()
        self._throttle.start_afresh()
        self._foreign.start_afresh()

    @property
    def is_fresh(self) -> bool:
        """Whether this process has read the log recently enough to decide."""
        return self._steady() - self._log.read_at <= self.max_staleness

    @property
    def hits(self) -> int:
        """How many decisions were made on credentials that were in memory, since the start."""
        return self._uses.of_entries - self._answers_after_load

    @property
    def lookup_budget(self) -> int:
        """How many look-ups that find nothing are allowed now."""
        return self._throttle.budget(self._steady())

    @property
    def failing_sources(self) -> int:
        """How many sources are remembered for credentials that were refused."""
        return self._throttle.sources

    def decide(self, token: str, demand: Demand, ip: str | None = None) -> Verification | Miss:
        """The answer, from memory alone, or what is missing for it."""
        log = self._log
        # Taken first: what is decided below is at least as new.
        as_of, read_at = log.as_of, log.read_at
        try:
            digest = sha256(token.encode()).digest()
        except UnicodeEncodeError:
            return self.refuse(Code.MALFORMED, demand, ip, as_of)
        entry = self._cache.young.get(digest) or self._cache.from_old(digest)
        if entry is None or not (entry.is_key_current and entry.owner_standing.is_current):
            self.asked_at = steady = self._steady()
            return Miss.COLD if steady - read_at <= self.max_staleness else Miss.STALE
        return self._answer(entry, demand, ip, as_of, read_at)

    def decide_again(self, entry: Entry, demand: Demand, ip: str | None = None) -> Verification | Miss:
        """As `decide`, on what an earlier decision presented; COLD where that is not what is kept any more."""
        as_of, read_at = self._log.as_of, self._log.read_at
        if not (entry.is_key_current and entry.owner_standing.is_current and self._cache.holds(entry)):
            return Miss.COLD
        return self._answer(entry, demand, ip, as_of, read_at)

    def _answer(
        self, entry: Entry, demand: Demand, ip: str | None, as_of: str, read_at: float
    ) -> Verification | Miss:
        """The decision on an entry that was current when the log had been read from `read_at` on."""
        now = self._nanos()
        is_foreign = entry.tenant != demand.tenant and demand.tenant is not None
        code = Code.NOT_FOUND if is_foreign else judge(entry, demand, ip, now)
        # The bound is checked last, against what was known first: a process that was stopped on the way here must not
        # answer from what it knew before.
        self.asked_at = steady = self._steady()
        if steady - read_at > self.max_staleness:
            return Miss.STALE
        if is_foreign:
            return self._refuse_unknown(demand, ip, as_of)
        if code is _VALID:
            if demand.is_use:
                self._uses.count(entry, now, ip)
        else:
            self._uses.count_refusal(entry.tenant, entry, code, now, ip)
        return Verification(code, as_of, entry)

    def screen(self, token: str, demand: Demand, ip: str | None = None) -> ParsedToken | Verification | None:
        """After a COLD miss: what to look up, or the refusal that needs no look-up.

        None for what is no token of Keyturn's, and may be one that was issued elsewhere.
        """
        as_of = self._log.as_of
        parsed = tokens.parse(token)
        if parsed is None:
            if self.imports.known is not False and may_be_foreign(token):
                return None
            return self.refuse(Code.MALFORMED, demand, ip, as_of)
        # Whether the id is known to be another's, or not known at all, must make no difference to who is asking.
        if self._is_throttled(demand, ip):
            return self.refuse(Code.THROTTLED, demand, ip, as_of)
        known = self._cache.by_id(parsed.credential_id)
        if known is not None and known.digest != token_digest(token):
            # The id is known and current: the secret is wrong. Nothing need be read to know that.
            return self.refuse(Code.NOT_FOUND, demand, ip, as_of)
        return parsed

    def screen_foreign(self, demand: Demand, ip: str | None, *, are_there: bool) -> Verification | None:
        """After `screen` had None to say, and `imports` were asked for: the refusal that needs no look-up."""
        if not are_there:
            return self.refuse(Code.MALFORMED, demand, ip)
        return self.refuse(Code.THROTTLED, demand, ip) if self._is_throttled(demand, ip) else None

    def may_be_imported(self, token: str, loaded: Loaded) -> bool:
        """Whether a token of Keyturn's own form, for which `load` found no entry, may be one that was imported."""
        is_unknown = loaded.entry is None or loaded.entry.digest != token_digest(token)
        return is_unknown and self.imports.known is not False and may_be_foreign(token)

    def _is_throttled(self, demand: Demand, ip: str | None) -> bool:
        # Who asks about any tenant's credentials is the server, for its own callers: theirs is a connection's address.
        return not self._throttle.admits(ip, self._steady(), demand.tenant)

    def _refuse_unknown(self, demand: Demand, ip: str | None, as_of: str) -> Verification:
        """The answer to another tenant's credential: in all the one to a credential that does not exist."""
        code = Code.THROTTLED if self._is_throttled(demand, ip) else Code.NOT_FOUND
        return self.refuse(code, demand, ip, as_of)

    def refuse(self, code: Code, demand: Demand, ip: str | None, as_of: str | None = None) -> Verification:
        """A refusal of a credential that no key can be held to."""
        if code in (Code.MALFORMED, Code.NOT_FOUND):
            self._throttle.failed(ip, self._steady(), demand.tenant)
        self._uses.count_refusal(demand.tenant or SYSTEM_TENANT, None, code, self._nanos(), ip)
        return Verification(code, self._log.as_of if as_of is None else as_of)

    def authenticate(self, token: str, demand: Demand, ip: str | None = None) -> Verification:
        """The answer, reading the store in this thread where that is needed."""
        outcome = self.decide(token, demand, ip)
        if outcome is Miss.STALE:
            refused = self.catch_up(demand, ip)
            if refused is not None:
                return refused
            outcome = self.decide(token, demand, ip)
        if outcome is Miss.COLD:
            return self._look_up(token, demand, ip)
        if isinstance(outcome, Miss):
            return self.refuse(Code.STALE, demand, ip)
        return outcome

    def catch_up(self, demand: Demand, ip: str | None) -> Verification | None:
        """Read the log because it was not read recently enough; the refusal where that fails."""
        try:
            self._log.catch_up()
        except IntegrityError:
            return self.refuse(Code.INTEGRITY_FAILED, demand, ip)
        except KeyturnError:  # the store does not answer, or not as it should
            return self.refuse(Code.STALE, demand, ip)
        return None

    def _look_up(self, token: str, demand: Demand, ip: str | None) -> Verification:
        """Load the credential and decide."""
        screened = self.screen(token, demand, ip)
        if isinstance(screened, Verification):
            return screened
        for _ in range(_LOAD_ATTEMPTS):
            try:
                outcome = self._loaded_and_decided(screened, token, demand, ip)
            except IntegrityError:
                return self.refuse(Code.INTEGRITY_FAILED, demand, ip)
            except KeyturnError:
                return self.refuse(Code.STALE, demand, ip)
            if isinstance(outcome, Verification):
                return outcome
            if outcome is Miss.STALE:
                refused = self.catch_up(demand, ip)
                if refused is not None:
                    return refused
        return self.refuse(Code.STALE, demand, ip)

    def _loaded_and_decided(
        self, screened: ParsedToken | None, token: str, demand: Demand, ip: str | None
    ) -> Verification | Miss:
        if screened is not None:
            loaded = self.load(screened.credential_id)
            if not (self.may_be_imported(token, loaded) and self.imports.ask()):
                return self.decide_loaded(token, loaded, demand, ip)
        else:
            refused = self.screen_foreign(demand, ip, are_there=self.imports.ask())
            if refused is not None:
                return refused
        found = self.load_foreign(token)
        if isinstance(found, Uncomputed):
            found = self.compute(token, found)
        return self.decide_loaded(token, found, demand, ip)

    def decide_loaded(
        self, token: str, loaded: Loaded, demand: Demand, ip: str | None
    ) -> Verification | Miss:
        """Decide on what `load` returned; a Miss if the log has moved on since, or if that was too long ago."""
        entry = loaded.entry
        if entry is None or entry.digest != token_digest(token):
            if self._steady() - loaded.read_at > self.max_staleness:
                return Miss.STALE
            self._throttle.looked_up_in_vain(self._steady())
            return self.refuse(Code.NOT_FOUND, demand, ip, loaded.as_of)
        # One that others have pushed out meanwhile hears of no change any more.
        if not (entry.is_current and self._cache.holds(entry)):
            return Miss.COLD
        outcome = self._answer(entry, demand, ip, loaded.as_of, loaded.read_at)
        self._answers_after_load += type(outcome) is Verification
        return outcome

    def load(self, credential_id: str) -> Loaded:
        """Read a credential from the store into the cache.

        IntegrityError for rows that are not what the log says, StorageError when the store does not answer.
        """
        return self._tallied(partial(self._loader.load, credential_id))

    def load_foreign(self, token: str) -> Loaded | Uncomputed:
        """Read a token that was issued elsewhere into the cache; the errors are those of `load`.

        Uncomputed where there is a hash that has to be computed: let `compute` do it.
        """
        return self._tallied(partial(self._foreign.load, token))

    def compute(self, token: str, uncomputed: Uncomputed) -> Loaded:
        """The same by computing a hash, for up to some seconds. ConfigurationError where its algorithm is missing."""
        return self._tallied(partial(self._foreign.compute, token, uncomputed))

    def _tallied(self, load: Callable[[], _T]) -> _T:
        try:
            loaded = load()
        except KeyturnError:
            self.loads.add("failed")
            raise
        if isinstance(loaded, Loaded):
            self.loads.add("absent" if loaded.entry is None else "found")
        return loaded
