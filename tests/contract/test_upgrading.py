"""Stores that were written before there was rotation, opened by this program; what programs of then are told.

`tests/vectors/store_before_rotation.json` has all rows and the log of such a store, byte for byte as that program wrote
them: keys active, narrowed, suspended, revoked, destroyed, an owner revoked. The schema is made by its own SQL files.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.adapters.ledger import postgres, sqlite
from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.bootstrap import Node, initialise, open_node
from keyturn.domain.bytestext import from_base64url
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.domain.rotation.policy import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.errors import KeyturnError, SchemaError
from keyturn.ports.ledger import LogEntry, Row, SealedHead, Snapshot
from keyturn.ports.schema import refuse_newer, schema_files
from keyturn.records.sealed_state import load_snapshot
from keyturn.verifier.decision import Demand
from tests.cli.program import Program
from tests.contract.ledger_stores import Store, postgres_store, sqlite_store
from tests.contract.older_schemas import LANDED, apply_older
from tests.contract.postgres_server import OWNER_ROLE, SUPERUSER, PostgresDatabase
from tests.security.attacker import Attacker, Image, attacker_on

WRITTEN: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "store_before_rotation.json").read_text()
)
KEK: Final = from_base64url(WRITTEN["kek"])
KEYS: Final[dict[str, dict[str, str]]] = WRITTEN["keys"]
ANSWERS: Final = {
    "plain": "valid",
    "narrowed": "valid",
    "suspended": "suspended",
    "revoked": "revoked",
    "compromised": "revoked",
    "destroyed": "revoked",
    "recoverable": "valid",
    "owned": "revoked",
    "owned again": "valid",
    "foreign": "valid",
    "expiring": "valid",
}
# Whoever has applied a file has what it said then: to mend one, add another.
FROZEN: Final = {
    "sqlite": [
        "fa21f77e61946110696ae8bf8e15959ec1b2958833f35f8e57c1d1af9ce3e0fa",
        "7b6eb11d050d73bb90553e1f474f8931f263bc49225d39ec16f10ac250a10f13",
        "ece19c9c4060a100d0738137d0df9cfedf4599872196224dcbda5e45562230fc",
    ],
    "postgres": [
        "ac2de0906ea7dd355b91bb3ed6e740ac049893aec5dc0c722dab5d28ccfebf5a",
        "95cc44b08a052263eb22ec9f95a566bdd4d17c81a6c21977b0a53b3e87a76374",
        "7ec1fe6307bb729f0d9c834c0ba2929fa7eff8424f04fd1f5e47060a69c13a03",
        "746227512d60ebe4c9264f2154121f43cdfb137774b6afb0740bad559269800e",
        "5e570758718590fab64034375acbc24bef244ab5a44e71f267aedb8a997c7184",
    ],
}


def bytes_of(columns: list[Any], *places: int) -> list[Any]:
    return [
        from_base64url(value) if place in places and value is not None else value
        for place, value in enumerate(columns)
    ]


IMAGE: Final = Image(
    rows={columns[0]: Row(*bytes_of(columns, 5, 6)) for columns in WRITTEN["rows"]},
    log=tuple(LogEntry(*bytes_of(columns, 1, 2, 3)) for columns in WRITTEN["log"]),
    sealed_head=SealedHead(*bytes_of(WRITTEN["sealed_head"], 1, 2)),
    snapshot=Snapshot(*bytes_of(WRITTEN["snapshot"], 1, 2, 3)),
)


def by(tenant: str = "default") -> Principal:
    return Principal(actor=LOCAL_ACTOR, tenant=tenant)


@pytest.fixture(params=["sqlite", "postgres"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store as it was."""
    if request.param == "sqlite":
        store = sqlite_store(tmp_path / "data" / "keyturn.db")
        url = store.url
    else:
        database: PostgresDatabase = request.getfixturevalue("postgres_database")
        store, url = postgres_store(database), database.superuser_url
    apply_older(store, LANDED[store.adapter], log_id=WRITTEN["log_id"])
    writer = attacker_on(url)
    fill(writer)
    writer.close()
    return store


def fill(writer: Attacker) -> None:
    writer.put_image(IMAGE)
    uses = "INSERT INTO {uses} (key_id, minute, version, code, tenant, count) VALUES (?, ?, ?, ?, ?, ?)"
    writer.run_each(uses, WRITTEN["uses"])
    writer.run_each(
        "INSERT INTO {last_uses} (key_id, version, at, ip) VALUES (?, ?, ?, ?)", WRITTEN["last_uses"]
    )


@pytest.fixture
def node(older: Store) -> Iterator[Node]:
    """This program on the store, after `init` without a role: those that programs use stay as they are."""
    assert initialise(older.owner_url, LocalKeyWrapper(Secret(KEK)), with_first_key=True) is None
    opened = open_node(older.url, LocalKeyWrapper(Secret(KEK)))
    yield opened
    opened.close()


def test_every_key_answers_as_it_did(node: Node) -> None:
    assert {label: answer(node, label) for label in ANSWERS} == ANSWERS
    assert answer(node, "narrowed", KeyScope.FULL) == "insufficient_scope"
    for label, key in KEYS.items():
        metadata = node.reader.get(key["key_id"], by(key["tenant"]))
        assert (metadata.name, metadata.rotation, metadata.rotation_policy_id) == (label, None, None)
        assert metadata.version == metadata.newest_version == 1
    material = node.reader.material(KEYS["recoverable"]["key_id"], by())
    assert material.secret.reveal() == KEYS["recoverable"]["token"]
    assert not node.records.incidents.drain()


def test_the_log_holds_and_goes_on(node: Node) -> None:
    events = node.trail.events(["default"])
    assert len([each for each in events if each.type == "key_created"]) == 12
    assert len([each for each in events if each.type == "key_revoked"]) >= 2
    assert node.records.log.position == len(IMAGE.log)
    assert [use.at for use in node.ledger.last_uses([KEYS["plain"]["key_id"]])] == [
        WRITTEN["last_uses"][0][2]
    ]
    node.lifecycle.revoke(KEYS["plain"]["key_id"], by())
    assert node.records.log.position == len(IMAGE.log) + 1
    assert answer(node, "plain") == "revoked"


def test_an_old_key_is_rotated_by_a_policy_and_survives_a_restart(older: Store, node: Node) -> None:
    policy = RotationPolicy(
        policy_id="monthly",
        frequency=RotationFrequency.MONTHLY,
        strategy=RotationStrategy.OVERLAPPING,
        keys=KeySelection(every_key=True),
    )
    node.rotation.policies.create(policy, by())
    for label in ("plain", "signing", "pair"):
        node.rotation.policies.assign(KEYS[label]["key_id"], "monthly", by())
    started = node.rotation.requests.rotate(KEYS["plain"]["key_id"], by())
    assert started.secret is not None
    for label in ("signing", "pair"):
        node.rotation.requests.rotate(KEYS[label]["key_id"], by())
    node.notices.endpoints.create("mailto:ops@example.org", by(), every_event=True)
    node.close()
    again = open_node(older.url, LocalKeyWrapper(Secret(KEK)))
    try:
        found = again.verifier.authenticate(started.secret.reveal(), Demand.of(tenant="default"))
        assert (found.code, found.key_id, found.version) == ("valid", KEYS["plain"]["key_id"], 2)
        assert answer(again, "plain") == "valid", "until its overlap ends"
        assert answer(again, "revoked") == "revoked"
        assert len(again.rotation.history.list(by()).items) == 3
    finally:
        again.close()


def test_a_row_of_then_that_is_put_back_is_refused(older: Store, node: Node) -> None:
    """The floor is read from the log of then: what was revoked before the upgrade stays so after it."""
    before = Row(*bytes_of(WRITTEN["before_revocation"], 5, 6))
    writer = attacker_on(superuser_url(older))
    writer.put_rows(before)
    writer.close()
    assert answer(node, "revoked") == "integrity_failed"


def test_its_snapshot_is_passed_over(node: Node) -> None:
    """It has no policies and no endpoints, of which there may be some by now: old and new programs ran side by side."""
    assert node.ledger.snapshot() == IMAGE.snapshot
    assert load_snapshot(node.records.keyring, node.ledger.log_id, IMAGE.snapshot) is None
    node.records.log.save_snapshot()
    assert load_snapshot(node.records.keyring, node.ledger.log_id, node.ledger.snapshot()) is not None


def test_before_init_this_program_refuses_the_store_and_leaves_it_alone(older: Store) -> None:
    with pytest.raises(SchemaError, match=r"this program needs [57]: run 'keyturn init'"):
        open_node(older.url, LocalKeyWrapper(Secret(KEK)))
    writer = attacker_on(superuser_url(older))
    assert writer.image() == IMAGE
    writer.close()


def test_init_at_the_command_line_brings_it_up_to_date(older: Store) -> None:
    """And what the server then connects as needs nothing more: it is told nothing of a role."""
    program = Program(older.owner_url, KEY_STORE_ENCRYPTION_KEY=f"hex:{KEK.hex()}")
    for _ in range(2):
        done = program.run("init")
        assert (done.status, done.err) == (0, "")
        assert "The store is ready" in done.out
    opened = open_node(older.url, LocalKeyWrapper(Secret(KEK)))
    assert answer(opened, "plain") == "valid"
    opened.close()


def test_a_program_of_then_refuses_the_store_from_then_on(older: Store, node: Node) -> None:
    """By the check that it makes when it opens a store, given what is stored now."""
    version, oldest_program = stored_versions(older)
    assert (version, oldest_program) == ({"sqlite": 5, "postgres": 7}[older.adapter],) * 2
    with pytest.raises(SchemaError, match=f"needs a program of {version} or later; this one is of") as caught:
        refuse_newer(version=version, oldest_program=oldest_program, newest=LANDED[older.adapter])
    assert "Upgrade this program" in caught.value.fix


def test_a_failed_upgrade_changes_nothing(older: Store) -> None:
    """One of the new indexes cannot be made: the name is taken."""
    writer = attacker_on(superuser_url(older))
    schema = "" if older.adapter == "sqlite" else "keyturn."
    writer.run(f"CREATE INDEX rows_endpoints ON {schema}rows (created)")
    with pytest.raises(KeyturnError):
        initialise(older.owner_url, LocalKeyWrapper(Secret(KEK)), with_first_key=True)
    assert stored_versions(older)[0] == LANDED[older.adapter]
    assert writer.image() == IMAGE
    writer.close()


def test_files_of_the_schema_that_were_ever_applied_are_as_they_were() -> None:
    for package, adapter in ((sqlite.__name__, "sqlite"), (postgres.__name__, "postgres")):
        landed = [text for number, text in schema_files(package) if number <= LANDED[adapter]]
        assert [hashlib.sha256(text.encode()).hexdigest() for text in landed] == FROZEN[adapter]


# -- looking at the store past the program


def answer(node: Node, label: str, scope: KeyScope | None = None) -> str:
    demand = Demand.of(tenant=KEYS[label]["tenant"], scope=scope)
    return node.verifier.authenticate(KEYS[label]["token"], demand).code


def superuser_url(store: Store) -> str:
    """The store as whoever may do everything sees it."""
    return store.url if store.adapter == "sqlite" else store.owner_url.replace(OWNER_ROLE, SUPERUSER)


def stored_versions(store: Store) -> tuple[int, int]:
    """The schema's version, and the oldest program that may use it, as the store says."""
    if store.adapter == "sqlite":
        with closing(sqlite3.connect(parse_url(store.url))) as file:
            meta = dict(file.execute("SELECT key, value FROM meta"))
        return int(meta["schema_version"]), int(meta["oldest_program"])
    with psycopg.connect(store.owner_url) as connection:
        found = connection.execute("SELECT max(version), max(oldest_program) FROM keyturn.schema_versions")
        version, oldest = found.fetchone() or (0, 0)
    return version, oldest
