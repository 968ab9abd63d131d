"""Another tenant's tokens and ids look like those that do not exist, to the byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pytest

from keyturn.bootstrap import Node
from keyturn.crypto.generation import new_key_id
from keyturn.domain.scope import KeyScope
from keyturn.domain.token import build
from keyturn.domain.verdict import Verification
from keyturn.errors import InvalidInputError, KeyturnError
from keyturn.issuing.reading import KeyFilter
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_store import SecureKeyStore
from keyturn.verifier.decision import Demand
from tests.security.history import MEMBERS, OTHER_TENANT, by
from tests.security.scene import PROBES, Scene

MINE: Final = "default"


def shown(verification: Verification) -> tuple[object, ...]:
    """All that a caller can see of an answer."""
    public = [name for name in dir(verification) if not name.startswith("_")]
    return (bool(verification), repr(verification), *((name, getattr(verification, name)) for name in public))


def unknown_token(scene: Scene) -> str:
    return SecureKeyGenerator(clock=scene.clock).generate_api_key().secret.reveal()


def wrong_secret(scene: Scene, label: str) -> str:
    handle = scene.chronicle.keys[label].credential_id
    assert handle is not None
    return build("kt", handle, "A" * 43)


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("probe", PROBES)
def test_another_tenants_token_is_answered_like_an_unknown_one(
    scene: Scene, probe: str, *, is_kept: bool
) -> None:
    node, asked = scene.open(), PROBES[probe]
    if is_kept:
        assert scene.ask_one(node, "foreign").valid
    demand = Demand.of(tenant=MINE, scope=asked.scope, permissions=asked.permissions)
    ip = None if asked.network is None else f"{asked.network}.1"
    answers = {
        what: shown(node.verifier.authenticate(token, demand, ip))
        for what, token in {
            "unknown": unknown_token(scene),
            "another tenant's": scene.token("foreign"),
            "another tenant's id with a wrong secret": wrong_secret(scene, "foreign"),
            "our own id with a wrong secret": wrong_secret(scene, "plain"),
        }.items()
    }
    assert answers["unknown"][0] is False
    assert ("code", "not_found") in answers["unknown"]
    assert len(set(map(repr, answers.values()))) == 1, answers


def test_each_tenant_is_served_its_own_while_the_other_is_refused(scene: Scene) -> None:
    node = scene.open()
    for _ in range(2):
        for label, tenant in (("foreign", OTHER_TENANT), ("plain", MINE)):
            for asking in (OTHER_TENANT, MINE):
                answer = node.verifier.authenticate(scene.token(label), Demand.of(tenant=asking))
                assert answer.code == ("valid" if asking == tenant else "not_found")


def test_a_failure_with_another_tenants_token_is_held_to_no_key(scene: Scene) -> None:
    node = scene.open()
    for _ in range(3):
        assert not node.verifier.authenticate(scene.token("foreign"), Demand.of(tenant=MINE))
    node.recorder.flush()
    used = scene.attacker.run("SELECT key_id, tenant, code, sum(count) FROM {uses} GROUP BY 1, 2, 3")
    assert [tuple(map(str, line)) for line in used] == [("", MINE, "not_found", "3")]


def answers_in_a_row(node: Node, token: str, ip: str) -> list[str]:
    """What a source is told that goes on after its first failures."""
    return [node.verifier.authenticate(token, Demand.of(tenant=MINE), ip).code for _ in range(40)]


def test_a_source_that_guesses_unknown_tokens_is_throttled(scene: Scene) -> None:
    answers = answers_in_a_row(scene.open(), unknown_token(scene), "192.0.2.1")
    assert answers[0] == "not_found"
    assert answers[-1] == "throttled"


@pytest.mark.parametrize("what", ["another tenant's token", "a wrong secret for a known id"])
def test_a_source_that_goes_on_failing_learns_nothing_from_when_it_is_throttled(
    scene: Scene, what: str
) -> None:
    node = scene.open()
    assert scene.ask_one(node, "foreign").valid
    assert scene.ask_one(node, "plain").valid
    token = scene.token("foreign") if what == "another tenant's token" else wrong_secret(scene, "plain")
    assert answers_in_a_row(node, token, "192.0.2.1") == answers_in_a_row(
        node, unknown_token(scene), "192.0.2.2"
    )


# -- management


@dataclass(frozen=True)
class Caller:
    """A store object of one tenant, and the node beneath it."""

    store: SecureKeyStore
    node: Node


@pytest.fixture
def caller(scene: Scene) -> Iterator[Caller]:
    """The library in the tenant `default`; a node for what it does not offer."""
    with SecureKeyStore.open(scene.url, scene.kek, tenant=MINE) as store:
        yield Caller(store, scene.open())


CALLS: Final[Mapping[str, Callable[[Caller, str], object]]] = {
    "verify_key": lambda it, key_id: it.store.verify_key(key_id),
    "retrieve_key": lambda it, key_id: it.store.retrieve_key(key_id),
    "revoke_key": lambda it, key_id: it.store.revoke_key(key_id, note="not mine"),
    "suspend_key": lambda it, key_id: it.store.suspend_key(key_id),
    "resume_key": lambda it, key_id: it.store.resume_key(key_id),
    "destroy_key": lambda it, key_id: it.store.destroy_key(key_id),
    "update_key": lambda it, key_id: it.store.update_key(key_id, scope=KeyScope.FULL, name="mine"),
    "update_key, clearing": lambda it, key_id: it.store.update_key(key_id, allowed_ips=None, expires_at=None),
    "update_key, a tag": lambda it, key_id: it.store.update_key(key_id, tags=["mine"]),
    "update_key, nonsense": lambda it, key_id: it.store.update_key(key_id, permissions=("*.*.",)),
    "update_key, an unknown field": lambda it, key_id: it.store.update_key(key_id, owner="me"),
    "get_usage_statistics": lambda it, key_id: it.store.get_usage_statistics(key_id),
    "get_audit_log": lambda it, key_id: it.store.get_audit_log(key_id=key_id),
    "list_keys": lambda it, key_id: it.store.list_keys(q=key_id),
    "versions": lambda it, key_id: it.node.versions.list(key_id, by(MINE)),
    "material": lambda it, key_id: it.node.reader.material(key_id, by(MINE)),
    "parts": lambda it, key_id: it.node.reader.parts(key_id, by(MINE)),
}


def outcome(call: Callable[[Caller, str], object], caller: Caller, key_id: str) -> tuple[object, ...]:
    """All that comes back: a result, or the error with everything that it says."""
    try:
        return ("returned", repr(call(caller, key_id)))
    except KeyturnError as error:
        said = (str(error), error.args, error.code, error.fix, getattr(error, "field", None))
        return (type(error), *said, error.__cause__, error.__suppress_context__)


@pytest.mark.parametrize("name", CALLS)
def test_management_answers_for_another_tenants_id_as_for_an_unknown_one(
    scene: Scene, caller: Caller, name: str
) -> None:
    theirs, unknown = scene.key_id("foreign"), new_key_id()
    log = scene.attacker.log()
    told = outcome(CALLS[name], caller, theirs)
    assert told == outcome(CALLS[name], caller, unknown)
    assert theirs not in repr(told)
    assert scene.attacker.log() == log
    assert scene.attacker.rows() == scene.chronicle.end.rows


@pytest.mark.parametrize("name", CALLS)
def test_management_serves_an_id_of_the_callers_own(scene: Scene, caller: Caller, name: str) -> None:
    """A control: the test above does not pass because nothing is ever found."""
    own, unknown = scene.key_id("recoverable"), new_key_id()
    if name in ("update_key, nothing", "update_key, nonsense", "update_key, an unknown field"):
        with pytest.raises(InvalidInputError):
            CALLS[name](caller, own)
    else:
        assert outcome(CALLS[name], caller, own) != outcome(CALLS[name], caller, unknown)


def test_revoking_an_owner_of_the_same_name_leaves_another_tenants_keys_alone(
    scene: Scene, caller: Caller
) -> None:
    theirs = SecureKeyGenerator(clock=scene.clock).generate_api_key(owner="acme")
    node = scene.open()
    assert node.issuer.issue(theirs, by(OTHER_TENANT)).owner_epoch == 0
    assert caller.store.revoke_owner("acme") == 1
    scene.clock.wait(60)
    answer = node.verifier.authenticate(theirs.secret.reveal(), Demand.of(tenant=OTHER_TENANT))
    assert answer.valid
    assert scene.ask_one(node, "acme-third").code == "revoked"


def test_lists_and_trails_show_a_tenant_its_own(scene: Scene, caller: Caller) -> None:
    listed = {key.key_id for key in caller.store.list_keys(limit=1_000).items}
    own = {scene.key_id(label) for label, member in MEMBERS.items() if member.tenant == MINE}
    assert listed == own
    subjects = {subject for event in caller.store.get_audit_log(limit=1_000) for subject in event.subjects}
    assert own <= subjects
    assert scene.key_id("foreign") not in subjects


def test_a_cursor_leads_on_only_in_its_own_tenant(scene: Scene) -> None:
    node = scene.open()
    cursor = node.reader.list(by(MINE), KeyFilter(), limit=1).next_cursor
    assert cursor is not None
    assert node.reader.list(by(MINE), KeyFilter(), limit=1, cursor=cursor).items
    with pytest.raises(InvalidInputError, match="cursor"):
        node.reader.list(by(OTHER_TENANT), KeyFilter(), limit=1, cursor=cursor)
