"""The one place where things are wired together: back ends by URL, services over them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Final

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.adapters.ledger.watching import LedgerCalls, watched
from keyturn.announcing.announcer import Announcer
from keyturn.announcing.backlog import Backlog
from keyturn.audit.trail import Trail
from keyturn.audit.usage import Usage
from keyturn.config import Environment, Settings
from keyturn.crypto.generation import generate_material, new_key_id
from keyturn.crypto.keyring import KEYRING_ROW, Keyring, UnknownDataKeyError
from keyturn.crypto.keyring_body import create_keyring
from keyturn.crypto.randomness import random_base62
from keyturn.custody.changing import KeyringChanges
from keyturn.custody.resealing import Resealer
from keyturn.domain.bodies import key_put, version_put
from keyturn.domain.change import ChangeSet, Event, EventType
from keyturn.domain.entry import chain_start
from keyturn.domain.ids import DEFAULT_TENANT, SYSTEM_TENANT
from keyturn.domain.key import KeyType
from keyturn.domain.principal import LOCAL_ACTOR, SYSTEM_ACTOR
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import GeneratedKey, KeySpec
from keyturn.errors import ConfigurationError, ConflictError, IntegrityError, shown
from keyturn.issuing.answers import Answers
from keyturn.issuing.issuer import Issuer, OwnerAtIssue, created_event, rows_of
from keyturn.issuing.keys import Keys
from keyturn.issuing.lifecycle import Lifecycle
from keyturn.issuing.reading import Reader
from keyturn.issuing.updating import Updater
from keyturn.issuing.versions import Versions
from keyturn.key_file import KeyFile, require_apart
from keyturn.notices.services import NoticeServices, notices_over
from keyturn.ports.clock import SYSTEM_CLOCK, Clock
from keyturn.ports.forking import survive_forks
from keyturn.ports.key_wrapper import KeyWrapper
from keyturn.ports.ledger import Ledger
from keyturn.records.entry_seals import Seen
from keyturn.records.keyring_row import KeyringRow
from keyturn.records.log_reader import LogReader
from keyturn.records.records import Records
from keyturn.records.rows import seal_changes
from keyturn.records.sealed_state import head_after
from keyturn.rotation.services import RotationServices, rotation_over
from keyturn.signing.published import PublishedKeys
from keyturn.signing.signer import Signer
from keyturn.verifier.cache import DEFAULT_CAPACITY, Cache
from keyturn.verifier.recorder import Recorder
from keyturn.verifier.uses import Uses
from keyturn.verifier.verifier import DEFAULT_MAX_STALENESS, Verifier

LEDGERS: Final = {
    "sqlite": "keyturn.adapters.ledger.sqlite",
    "postgresql": "keyturn.adapters.ledger.postgres",
    "postgres": "keyturn.adapters.ledger.postgres",
}
LOG_ID_CHARACTERS: Final = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One process's Keyturn: services over one ledger. Close it to write what it has counted."""

    ledger: Ledger
    ledger_calls: LedgerCalls
    records: Records
    issuer: Issuer
    lifecycle: Lifecycle
    updater: Updater
    reader: Reader
    versions: Versions
    answers: Answers
    trail: Trail
    usage: Usage
    signer: Signer
    published: PublishedKeys
    verifier: Verifier
    cache: Cache
    uses: Uses
    recorder: Recorder
    keyring_changes: KeyringChanges
    resealer: Resealer
    rotation: RotationServices
    notices: NoticeServices
    announcer: Announcer
    backlog: Backlog
    clock: Clock

    def close(self) -> None:
        """Write what is left and let the ledger go. Calling it twice is harmless."""
        self.recorder.close()
        self.ledger.close()

    def pause(self) -> None:
        """Before a fork: wait until nobody is taking in what the log says, which a child could not finish."""
        self.records.log.applying.acquire()

    def resume(self) -> None:
        """After a fork, in the parent."""
        self.records.log.applying.release()

    def start_afresh(self) -> None:
        """After a fork, in the child: leave to the parent what it has counted and found."""
        self.records.log.start_afresh()
        self.verifier.start_afresh()
        self.recorder.start_afresh()
        self.published.start_afresh()
        self.rotation.pick_ups.start_afresh()
        self.notices.deliverer.start_afresh()


def ledger_module(url: str) -> ModuleType:
    """The adapter for a store's URL; ConfigurationError for a scheme that is not known."""
    scheme = url.partition(":")[0] if isinstance(url, str) else ""
    if scheme not in LEDGERS:
        raise ConfigurationError(
            f"unknown store {shown(scheme)}",
            fix=f"Use a URL that begins with one of: {', '.join(sorted(LEDGERS))}.",
        )
    return importlib.import_module(LEDGERS[scheme])


def open_node(
    url: str,
    wrapper: KeyWrapper,
    *,
    clock: Clock = SYSTEM_CLOCK,
    max_staleness: float = DEFAULT_MAX_STALENESS,
    cache_capacity: int = DEFAULT_CAPACITY,
) -> Node:
    """Everything over an initialised store.

    SchemaError when it is not initialised, WrongKekError for another KEK, IntegrityError when its log does not hold.
    """
    ledger: Ledger = ledger_module(url).open_ledger(url)
    try:
        return _node_over(ledger, wrapper, clock, max_staleness, cache_capacity)
    except BaseException:
        ledger.close()
        raise


def _node_over(
    ledger: Ledger, wrapper: KeyWrapper, clock: Clock, max_staleness: float, cache_capacity: int
) -> Node:
    calls = LedgerCalls()
    ledger = watched(ledger, calls)
    keyring, log = open_log(ledger, wrapper, clock)
    records = Records(ledger=ledger, keyring=keyring, log=log)
    keys, uses = Keys(records), Uses(ledger)
    updater = Updater(records=records, keys=keys, clock=clock)
    cache = Cache(cache_capacity)
    trail = Trail(ledger=ledger, keyring=keyring, log=log)
    rotation = rotation_over(ledger=ledger, records=records, keys=keys, updater=updater, clock=clock)
    node = Node(
        ledger=ledger,
        ledger_calls=calls,
        records=records,
        issuer=Issuer(records=records, keys=keys, clock=clock),
        lifecycle=Lifecycle(ledger=ledger, records=records, keys=keys, clock=clock),
        updater=updater,
        reader=Reader(ledger=ledger, records=records, keys=keys, clock=clock),
        versions=Versions(ledger=ledger, records=records, keys=keys),
        answers=Answers(ledger=ledger, records=records, clock=clock),
        trail=trail,
        usage=Usage(ledger),
        signer=Signer(records=records, keys=keys, uses=uses, clock=clock),
        published=PublishedKeys(records=records, keys=keys, clock=clock, max_staleness=max_staleness),
        verifier=Verifier(records=records, uses=uses, clock=clock, cache=cache, max_staleness=max_staleness),
        cache=cache,
        uses=uses,
        recorder=Recorder(records=records, uses=uses, clock=clock),
        keyring_changes=KeyringChanges(ledger=ledger, records=records, wrapper=wrapper, clock=clock),
        resealer=Resealer(ledger=ledger, records=records, clock=clock),
        rotation=rotation,
        notices=notices_over(
            ledger=ledger,
            records=records,
            keys=keys,
            secrets=rotation.secrets,
            clock=clock,
        ),
        announcer=Announcer(ledger=ledger, records=records, clock=clock),
        backlog=Backlog(ledger=ledger, records=records, clock=clock),
        clock=clock,
    )
    node.verifier.imports.ask()  # here, where a look at the store holds up nobody
    survive_forks(node)
    return node


def open_log(ledger: Ledger, wrapper: KeyWrapper, clock: Clock) -> tuple[Keyring, LogReader]:
    """The keyring of an open ledger, and its log, read to the end; the errors are those of `open_node`."""
    try:
        return _opened_log(ledger, wrapper, clock)
    except UnknownDataKeyError:
        # A data key that is newer than the keyring's row which was read, unless somebody made it up.
        return _opened_log(ledger, wrapper, clock)


def _opened_log(ledger: Ledger, wrapper: KeyWrapper, clock: Clock) -> tuple[Keyring, LogReader]:
    row = KeyringRow(ledger=ledger, wrapper=wrapper)
    log = LogReader(ledger=ledger, keyring=row.keyring, clock=clock, row=row)
    if not row.is_named_by(log.floor):
        raise IntegrityError("the keyring row is not the one that the log names")
    return row.keyring, log


def initialise(
    url: str,
    wrapper: KeyWrapper,
    *,
    with_first_key: bool,
    grant_to: str | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> GeneratedKey | None:
    """Apply the schema and make the keyring, unless they are there; several processes may do this at once.

    With `with_first_key`, the process that makes the keyring also issues a provisioning key that may do everything,
    and returns it; any other gets None.
    """
    module = ledger_module(url)
    module.initialise(url, log_id=random_base62(LOG_ID_CHARACTERS), grant_to=grant_to)
    ledger: Ledger = module.open_ledger(url)
    try:
        if ledger.read((KEYRING_ROW,))[0] is not None or ledger.head() > 0:
            return None
        return _begin(ledger, wrapper, clock, with_first_key)
    except ConflictError:
        return None  # another process was first
    finally:
        ledger.close()


def _begin(ledger: Ledger, wrapper: KeyWrapper, clock: Clock, with_first_key: bool) -> GeneratedKey | None:
    """Write the first entries together with their sealed head, so that a log without one is always a finding."""
    keyring, put = create_keyring(wrapper, ledger.log_id)
    now = clock.now()
    event = Event(
        type=EventType.KEYRING_CREATED,
        time=now,
        tenant=SYSTEM_TENANT,
        actor=SYSTEM_ACTOR,
        subjects=(KEYRING_ROW,),
        rows=(put.id,),
    )
    changes, generated = ChangeSet(puts=(put,), events=(event,)), None
    if with_first_key:
        generated = first_key(clock)
        key, version = rows_of(generated, DEFAULT_TENANT, keyring, OwnerAtIssue())
        changes = ChangeSet(
            puts=(put, key_put(key), version_put(version)),
            events=(event, created_event(key, version, LOCAL_ACTOR, now)),
        )
    seen = Seen(0, chain_start(ledger.log_id))
    commit = seal_changes(keyring, changes, seen)
    ledger.commit(replace(commit, sealed_head=head_after(keyring, ledger.log_id, seen, commit.entries)))
    return generated


def first_key(clock: Clock) -> GeneratedKey:
    """A provisioning key of the tenant `default` that may do everything."""
    spec = KeySpec(type=KeyType.PROVISIONING, scope=KeyScope.FULL, name="first", permissions=("*",))
    material = generate_material(spec)
    return GeneratedKey(key_id=new_key_id(), spec=spec, created_at=clock.now(), **material._asdict())


def wrapper_for(settings: Settings) -> tuple[KeyWrapper, bool]:
    """The KEK that the settings name, and whether it is development's key file.

    ConfigurationError when production has none, or the key file does not do.
    """
    if settings.kms != "local":
        raise ConfigurationError(
            f"unknown KMS {shown(settings.kms.partition(':')[0])}", fix="This version knows: local."
        )
    if settings.kek is not None:
        return LocalKeyWrapper.from_setting(settings.kek), False
    if settings.environment is Environment.PRODUCTION:
        raise ConfigurationError(
            "there is no key-encryption key",
            fix="Set KEY_STORE_ENCRYPTION_KEY, for example to 'base64:' and the output of 'openssl rand -base64 32'.",
        )
    require_apart(settings)
    return KeyFile(settings.kek_file).wrapper(), True
