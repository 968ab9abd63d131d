"""Stand-ins for the ports, for tests that decide what time it is and who comes in between.

    site = Site.in_memory()                        # a store, and one clock for all who work on it
    ours, theirs = site.process(), site.process()  # two processes, each a node over a ledger that takes hooks
    key = ours.issue(owner="acme")
    ours.ledger.after("read_credential", lambda: theirs.revoke(key))
    assert ours.ask(key).code == "valid"           # read before the revocation, and within the bound

`ManualClock` moves only when a test moves it; `HookedLedger` goes around any ledger.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar, get_args

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node, _begin, _node_over
from keyturn.domain.fields import check_tenant
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.instants import from_micros, to_micros
from keyturn.domain.key import Key
from keyturn.domain.principal import LIBRARY_ACTOR, Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.domain.verdict import Verification
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_store import SecureKeyStore
from keyturn.ports.ledger import (
    Commit,
    CredentialRows,
    KeptState,
    LastUse,
    Ledger,
    LogEntry,
    Position,
    Reseal,
    RotationFilter,
    Row,
    RowFilter,
    SealedHead,
    Snapshot,
    UsageCount,
    UseCount,
)
from keyturn.verifier.cache import DEFAULT_CAPACITY
from keyturn.verifier.decision import Demand
from keyturn.verifier.verifier import DEFAULT_MAX_STALENESS, Miss
from tests.contract.ledger_stores import Store
from tests.unit.records.memory_ledger import MemoryStore

BEGINNING: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEK: Final = bytes(range(32))
TICK: Final = 2.0**-20  # seconds, about a microsecond; a power of two, so that sums of them are exact

Hook = Callable[[], object]
Look = Literal["now", "nanos", "steady"]
Method = Literal[
    "commit", "read", "read_credential", "read_credentials", "has_credential_from",
    "read_versions", "list_keys", "list_owned", "list_expired", "forget_answers",
    "list_due_keys", "list_due_rotations", "list_rotations", "list_policies", "list_published",
    "list_endpoints", "read_states", "keep_state",
    "read_log",
    "head", "sealed_head", "seal_head", "snapshot", "save_snapshot", "record_uses", "read_uses", "last_uses",
    "wait_for_news", "close", "list_rows", "count_rows", "reseal",
]  # fmt: skip

_T = TypeVar("_T")


class ManualClock:
    """Time as a test says it. The steady clock goes on by a tick with each look, so that no two looks are alike."""

    def __init__(self, at: datetime = BEGINNING) -> None:
        self._wall = to_micros(at) * 1_000
        self._steady = 1_024.0
        self._at_looks: dict[str, list[Hook]] = defaultdict(list)

    def now(self) -> datetime:
        self._looked("now")
        return from_micros(self._wall // 1_000)

    def nanos(self) -> int:
        self._looked("nanos")
        return self._wall

    def steady(self) -> float:
        self._looked("steady")
        self._steady += TICK
        return self._steady - TICK

    def pass_time(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._steady += seconds
        self._wall += int(seconds * 1_000_000_000)

    def step_wall(self, by: timedelta) -> None:
        """Set the wall clock forward or back; the steady one knows nothing of it."""
        self._wall += int(by.total_seconds() * 1_000_000_000)

    def set_wall(self, nanos: int) -> None:
        """Let it be so many nanoseconds since the epoch."""
        self._wall = nanos

    def set_steady(self, seconds: float) -> None:
        """Let the next look at the steady clock find exactly this."""
        self._steady = seconds

    def at_next(self, look: Look, hook: Hook) -> None:
        """Do this once, when somebody next looks, before they see anything; of several hooks one at each look."""
        self._at_looks[look].append(hook)

    def _looked(self, look: Look) -> None:
        if self._at_looks[look]:
            self._at_looks[look].pop(0)()


class HookedLedger:
    """A ledger around another one. What is hung on a method happens before or after it, in the thread that calls.

    Attributes:
        calls: how often each method was called.
    """

    def __init__(self, inner: Ledger) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._before: dict[str, list[Hook]] = defaultdict(list)
        self._after: dict[str, list[Hook]] = defaultdict(list)
        self._always: dict[str, Hook] = {}

    def before(self, method: Method, *hooks: Hook) -> None:
        """Do these before the next calls of `method`, one at each; what they raise is what the call raises."""
        self._before[method].extend(hooks)

    def after(self, method: Method, *hooks: Hook) -> None:
        """Do these when the next calls of `method` have been carried out, one at each, before their callers know."""
        self._after[method].extend(hooks)

    def always(self, method: Method, hook: Hook) -> None:
        """Do this before every call of `method` from now on."""
        self._always[method] = hook

    def fail(self, error: Exception, *methods: Method) -> None:
        """From now on these methods raise `error`; all of them when none is named."""

        def raising() -> None:
            raise error

        for method in methods or get_args(Method):
            self._always[method] = raising

    def work_again(self) -> None:
        """Forget every hook."""
        for hooks in (self._before, self._after, self._always):
            hooks.clear()

    def _call(self, method: str, act: Callable[[], _T]) -> _T:
        with self._lock:
            self.calls[method] += 1
            before = self._before[method].pop(0) if self._before[method] else None
            after = self._after[method].pop(0) if self._after[method] else None
        for hook in (self._always.get(method), before):
            if hook is not None:
                hook()
        result = act()
        if after is not None:
            after()
        return result

    @property
    def log_id(self) -> str:
        return self.inner.log_id

    def commit(self, commit: Commit) -> Position:
        return self._call("commit", lambda: self.inner.commit(commit))

    def read(self, ids: Sequence[str]) -> list[Row | None]:
        return self._call("read", lambda: self.inner.read(ids))

    def read_credential(self, credential_id: str) -> CredentialRows | None:
        return self._call("read_credential", lambda: self.inner.read_credential(credential_id))

    def read_credentials(self, credential_ids: Sequence[str]) -> list[CredentialRows]:
        return self._call("read_credentials", lambda: self.inner.read_credentials(credential_ids))

    def has_credential_from(self, credential_id: str) -> bool:
        return self._call("has_credential_from", lambda: self.inner.has_credential_from(credential_id))

    def read_versions(self, key_id: str) -> list[Row]:
        return self._call("read_versions", lambda: self.inner.read_versions(key_id))

    def list_keys(self, matching: RowFilter, limit: int) -> list[Row]:
        return self._call("list_keys", lambda: self.inner.list_keys(matching, limit))

    def list_owned(self, tenant: str, owner: str, after: str, limit: int) -> list[Row]:
        return self._call("list_owned", lambda: self.inner.list_owned(tenant, owner, after, limit))

    def list_expired(self, before: int, after: str, limit: int) -> list[Row]:
        return self._call("list_expired", lambda: self.inner.list_expired(before, after, limit))

    def list_due_keys(
        self, tenant: str, before: int, after: tuple[int, str], limit: int, *,
        policy_id: str | None = None, type: str | None = None,
    ) -> list[Row]:  # fmt: skip
        return self._call(
            "list_due_keys",
            lambda: self.inner.list_due_keys(tenant, before, after, limit, policy_id=policy_id, type=type),
        )

    def list_due_rotations(self, before: int, after: tuple[int, str], limit: int) -> list[Row]:
        return self._call("list_due_rotations", lambda: self.inner.list_due_rotations(before, after, limit))

    def list_rotations(self, matching: RotationFilter, limit: int) -> list[Row]:
        return self._call("list_rotations", lambda: self.inner.list_rotations(matching, limit))

    def list_published(self, after: tuple[str, str], limit: int) -> list[Row]:
        return self._call("list_published", lambda: self.inner.list_published(after, limit))

    def list_policies(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        return self._call("list_policies", lambda: self.inner.list_policies(tenant, before, limit))

    def list_endpoints(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        return self._call("list_endpoints", lambda: self.inner.list_endpoints(tenant, before, limit))

    def read_states(self, endpoint_ids: Sequence[str]) -> list[KeptState | None]:
        return self._call("read_states", lambda: self.inner.read_states(endpoint_ids))

    def keep_state(self, state: KeptState) -> None:
        self._call("keep_state", lambda: self.inner.keep_state(state))

    def forget_answers(self, before: int, limit: int) -> int:
        return self._call("forget_answers", lambda: self.inner.forget_answers(before, limit))

    def list_rows(self, after: str, limit: int) -> list[Row]:
        return self._call("list_rows", lambda: self.inner.list_rows(after, limit))

    def count_rows(self) -> int:
        return self._call("count_rows", self.inner.count_rows)

    def reseal(self, reseals: Sequence[Reseal]) -> int:
        return self._call("reseal", lambda: self.inner.reseal(reseals))

    def read_log(self, start: Position, limit: int) -> list[LogEntry]:
        return self._call("read_log", lambda: self.inner.read_log(start, limit))

    def head(self) -> Position:
        return self._call("head", self.inner.head)

    def sealed_head(self) -> SealedHead | None:
        return self._call("sealed_head", self.inner.sealed_head)

    def seal_head(self, sealed: SealedHead) -> None:
        self._call("seal_head", lambda: self.inner.seal_head(sealed))

    def snapshot(self) -> Snapshot | None:
        return self._call("snapshot", self.inner.snapshot)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self._call("save_snapshot", lambda: self.inner.save_snapshot(snapshot))

    def record_uses(self, uses: Sequence[UseCount]) -> None:
        self._call("record_uses", lambda: self.inner.record_uses(uses))

    def read_uses(
        self, key_id: str, first_minute: int, last_minute: int, *, period: int = 1
    ) -> list[UsageCount]:
        return self._call(
            "read_uses", lambda: self.inner.read_uses(key_id, first_minute, last_minute, period=period)
        )

    def last_uses(self, key_ids: Sequence[str]) -> list[LastUse]:
        return self._call("last_uses", lambda: self.inner.last_uses(key_ids))

    def wait_for_news(self, timeout: float) -> None:
        self._call("wait_for_news", lambda: self.inner.wait_for_news(timeout))

    def close(self) -> None:
        self._call("close", self.inner.close)


BY: Final = Principal(actor=LIBRARY_ACTOR)


@dataclass(frozen=True, kw_only=True)
class Process:
    """A node over a ledger that takes hooks, and short words for what tests do with it."""

    node: Node
    ledger: HookedLedger
    clock: ManualClock
    _stores: list[SecureKeyStore] = field(default_factory=list)

    def make(self, **spec: Any) -> GeneratedKey:
        """A key that is not stored."""
        return SecureKeyGenerator(clock=self.clock).generate_api_key(**spec)

    def issue(self, *, by: Principal = BY, **spec: Any) -> GeneratedKey:
        """A key that is stored."""
        key = self.make(**spec)
        self.node.issuer.issue(key, by)
        return key

    def ask(
        self,
        key: GeneratedKey | str,
        *,
        tenant: str = DEFAULT_TENANT,
        scope: KeyScope | None = None,
        permissions: str | None = None,
        ip: str | None = None,
    ) -> Verification:
        """The answer on a token, reading the store where that is needed."""
        demand = Demand.of(tenant=tenant, scope=scope, permissions=permissions)
        return self.node.verifier.authenticate(token_of(key), demand, ip)

    def decide(
        self,
        key: GeneratedKey | str,
        *,
        tenant: str = DEFAULT_TENANT,
        scope: KeyScope | None = None,
        permissions: str | None = None,
        ip: str | None = None,
    ) -> str:
        """The code of the answer from memory, or what is missing for one."""
        demand = Demand.of(tenant=tenant, scope=scope, permissions=permissions)
        outcome = self.node.verifier.decide(token_of(key), demand, ip)
        return outcome.name if isinstance(outcome, Miss) else outcome.code

    def revoke(self, key: GeneratedKey) -> Key:
        return self.node.lifecycle.revoke(key.key_id, BY)

    def update(self, key: GeneratedKey, **changes: Any) -> Key:
        return self.node.updater.update(key.key_id, BY, changes)

    def revoke_owner(self, owner: str) -> int:
        return self.node.lifecycle.revoke_owner(owner, BY)

    def get(self, key: GeneratedKey, by: Principal = BY) -> Key:
        return self.node.reader.get(key.key_id, by)

    def catch_up(self) -> None:
        self.node.records.log.catch_up()

    def store(self, tenant: str = DEFAULT_TENANT) -> SecureKeyStore:
        """The public store over this node; closing it closes the node, which would also happen if it were let go."""
        store = SecureKeyStore.__new__(SecureKeyStore)
        store._begin(self.node, Principal(actor=LIBRARY_ACTOR, tenant=check_tenant(tenant)))
        self._stores.append(store)
        return store


@dataclass(kw_only=True)
class Site:
    """One store, and the processes that work on it, all by one clock."""

    open_ledger: Callable[[], Ledger]
    clock: ManualClock = field(default_factory=ManualClock)
    _processes: list[Process] = field(default_factory=list)

    @classmethod
    def in_memory(cls) -> Site:
        """A new store without a file."""
        return cls.begun(MemoryStore().open)

    @classmethod
    def on(cls, store: Store) -> Site:
        """A real store, which has its schema and nothing else."""
        return cls.begun(store.open)

    @classmethod
    def begun(cls, open_ledger: Callable[[], Ledger]) -> Site:
        """An empty ledger, given its keyring."""
        site, ledger = cls(open_ledger=open_ledger), open_ledger()
        _begin(ledger, wrapper(), site.clock, with_first_key=False)
        ledger.close()
        return site

    def process(
        self,
        *,
        max_staleness: float = DEFAULT_MAX_STALENESS,
        capacity: int = DEFAULT_CAPACITY,
        kek: bytes = KEK,
    ) -> Process:
        """One more process; the site closes it."""
        ledger = HookedLedger(self.open_ledger())
        try:
            node = _node_over(ledger, wrapper(kek), self.clock, max_staleness, capacity)
        except BaseException:
            ledger.close()
            raise
        process = Process(node=node, ledger=ledger, clock=self.clock)
        self._processes.append(process)
        return process

    def close(self) -> None:
        while self._processes:
            process = self._processes.pop()
            process.ledger.work_again()
            process.node.close()


def wrapper(kek: bytes = KEK) -> LocalKeyWrapper:
    return LocalKeyWrapper(Secret(kek))


def token_of(key: GeneratedKey | str) -> str:
    return key if isinstance(key, str) else key.secret.reveal()


@pytest.fixture
def site() -> Iterator[Site]:
    """A store in memory that only has its keyring."""
    created = Site.in_memory()
    yield created
    created.close()


@pytest.fixture
def ours(site: Site) -> Process:
    """One process on it."""
    return site.process()


@pytest.fixture
def theirs(site: Site) -> Process:
    """Another one."""
    return site.process()
