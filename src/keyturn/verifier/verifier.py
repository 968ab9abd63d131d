"""Verification: decided in memory where the credential is known, loaded and checked where it is not.

`decide` never waits and never reads a store. When it can't answer it returns a Miss, which says what is needed: a
read of the log (`STALE`) or a look-up (`COLD`). `authenticate` does both in the caller's thread; a server does them
elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from typing import Any, Final, NamedTuple

from keyturn.crypto.digests import token_digest
from keyturn.domain import token as tokens
from keyturn.domain.bodies import KEY, OWNER, VERSION, key_from, owner_from, version_from
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.domain.token import ParsedToken
from keyturn.domain.verdict import Code, Verification
from keyturn.errors import ConfigurationError, IntegrityError, KeyturnError, shown
from keyturn.measures import Tally
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import CredentialRows, Row
from keyturn.records.records import Records, Settling
from keyturn.records.rows import OpenedRow
from keyturn.verifier.cache import Cache
from keyturn.verifier.decision import Demand, judge
from keyturn.verifier.entries import Entry
from keyturn.verifier.throttle import Throttle
from keyturn.verifier.uses import Uses

DEFAULT_MAX_STALENESS: Final = 1.0  # seconds
MAX_STALENESS_RANGE: Final = (
    0.1,
    60.0,
)  # below it every request would read the log; above it nothing is bounded
_LOAD_ATTEMPTS: Final = 3
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


class Loaded(NamedTuple):
    """What a look-up found, None for nothing, and how far the log had been read when that was so."""

    entry: Entry | None
    as_of: str
    read_at: float


class Verifier:
    """Decides on credentials for one process.

    Attributes:
        max_staleness: seconds since the start of the last completed read of the log within which it decides.
        asked_at: steady time of the latest decision.
        loads: look-ups in the store, by whether they found something.
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
        self._records = records
        self._log = records.log
        self._uses = uses
        self._steady = clock.steady
        self._nanos = clock.nanos
        self._cache = cache
        self._throttle = Throttle()
        self.max_staleness = check_staleness(max_staleness)
        self.asked_at = clock.steady()
        self.loads = Tally()
        self._answers_after_load = 0
        self._log.listen(cache.drop)

    def start_afresh(self) -> None:
        """Go on in a forked child."""
        self._cache.start_afresh()
        self._throttle.start_afresh()

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

    def screen(self, token: str, demand: Demand, ip: str | None = None) -> ParsedToken | Verification:
        """After a COLD miss: what to look up, or the refusal that needs no look-up."""
        as_of = self._log.as_of
        parsed = tokens.parse(token)
        if parsed is None:
            return self.refuse(Code.MALFORMED, demand, ip, as_of)
        # Whether the id is known to be another's, or not known at all, must make no difference to who is asking.
        if self._is_throttled(demand, ip):
            return self.refuse(Code.THROTTLED, demand, ip, as_of)
        known = self._cache.by_id(parsed.credential_id)
        if known is not None and known.digest != token_digest(token):
            # The id is known and current: the secret is wrong. Nothing need be read to know that.
            return self.refuse(Code.NOT_FOUND, demand, ip, as_of)
        return parsed

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
            screened = self.screen(token, demand, ip)
            if isinstance(screened, Verification):
                return screened
            return self.look_up(token, screened, demand, ip)
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

    def look_up(self, token: str, parsed: ParsedToken, demand: Demand, ip: str | None) -> Verification:
        """Load the credential and decide."""
        for _ in range(_LOAD_ATTEMPTS):
            try:
                loaded = self.load(parsed.credential_id)
            except IntegrityError:
                return self.refuse(Code.INTEGRITY_FAILED, demand, ip)
            except KeyturnError:
                return self.refuse(Code.STALE, demand, ip)
            outcome = self.decide_loaded(token, loaded, demand, ip)
            if isinstance(outcome, Verification):
                return outcome
            if outcome is Miss.STALE:
                refused = self.catch_up(demand, ip)
                if refused is not None:
                    return refused
        return self.refuse(Code.STALE, demand, ip)

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
        try:
            loaded = self._load(credential_id)
        except KeyturnError:
            self.loads.add("failed")
            raise
        self.loads.add("absent" if loaded.entry is None else "found")
        return loaded

    def _load(self, credential_id: str) -> Loaded:
        settling = Settling(self._records)
        while True:
            as_of, read_at = self._log.as_of, self._log.read_at
            rows = self._records.read_credential(credential_id)
            if rows is None:
                return Loaded(None, as_of, read_at)
            found = self._opened(credential_id, rows)
            with self._log.applying:
                # The log can't move on between this check and the fill.
                if all(self._records.is_current(row_id, row) for row_id, row in found.items()):
                    return Loaded(self._filled(rows, found), self._log.as_of, self._log.read_at)
            settling.settle(found)

    def _opened(self, credential_id: str, rows: CredentialRows) -> dict[str, OpenedRow | None]:
        """The rows by id, with the owner's absence where its key names one that has no row."""
        opened = [
            self._records.open_sealed(row) for row in (rows.version, rows.key, rows.owner) if row is not None
        ]
        if not _belong_together(credential_id, *(row.body for row in opened)):
            raise self._records.refuse(rows.version.id, rows.version.tenant, "rows do not belong together")
        found: dict[str, OpenedRow | None] = {row.row.id: row for row in opened}
        if rows.owner is None and "owner" in opened[1].body:
            found[opened[1].body["owner"]["row"]] = None
        return found

    def _filled(self, rows: CredentialRows, found: Mapping[str, OpenedRow | None]) -> Entry:
        version = version_from(_body(found, rows.version), rows.version.material)
        key = key_from(_body(found, rows.key))
        owner = None if rows.owner is None else owner_from(_body(found, rows.owner))
        entry = Entry(version, key, owner, self._cache.owner_standing(key.owner_row))
        self._cache.put(entry)
        return entry


def _body(found: Mapping[str, OpenedRow | None], row: Row) -> Mapping[str, Any]:
    opened = found[row.id]
    assert opened is not None
    return opened.body


def _belong_together(
    credential_id: str,
    version: Mapping[str, Any],
    key: Mapping[str, Any],
    owner: Mapping[str, Any] | None = None,
) -> bool:
    """Whether these sealed bodies are those of a credential, its key, and the key's owner."""
    return (
        (version["kind"], key["kind"]) == (VERSION, KEY)
        and version.get("credential_id") == credential_id
        and (version["key"], version["tenant"]) == (key["id"], key["tenant"])
        and (
            owner is None
            or (owner["kind"] == OWNER and "owner" in key and owner["id"] == key["owner"]["row"])
        )
    )
