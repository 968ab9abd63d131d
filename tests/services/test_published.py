"""Published keys: who may be one, and which of their versions everybody sees, and until when."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from keyturn import KeyScope, KeyType, RotationStrategy
from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.domain.publishing import (
    CACHE_SECONDS,
    LEAD_SECONDS,
    MAX_PUBLISHED_FOR,
    MAX_PUBLISHED_KEYS,
    MAX_PUBLISHED_VERSIONS,
    MAX_VERSIONS_LOOKED_AT,
)
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import (
    ForbiddenError,
    IllegalTransitionError,
    IntegrityError,
    InvalidInputError,
    StorageError,
)
from tests.contract.ledger_stores import Store
from tests.fakes import BY, Process
from tests.services.rotating import HOUR, rotator_of
from tests.services.samples import on_both

LONG: Final = 240 * HOUR  # in which a key has more versions than there is room for, each with its lead


def in_base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


PUBLIC: Final[list[dict[str, Any]]] = [
    {"key_type": KeyType.JWT},
    {"key_type": KeyType.JWT, "algorithm": "ES256"},
    {"key_type": KeyType.JWT, "algorithm": "PS256"},
    {"key_type": KeyType.RSA},
    {"key_type": KeyType.ECDSA, "length": 384},
    {"key_type": KeyType.ECDSA, "length": 521},
]
SECRET: Final[list[dict[str, Any]]] = [
    {"key_type": KeyType.API_TOKEN},
    {"key_type": KeyType.PROVISIONING},
    {"key_type": KeyType.HMAC},
    {"key_type": KeyType.JWT, "algorithm": "HS256"},
]


def issue(process: Process, **more: Any) -> GeneratedKey:
    wanted = {"key_type": KeyType.JWT, "key_scope": KeyScope.FULL, "published_for": HOUR, **more}
    return process.issue(**wanted)


def shown(process: Process, tenant: str = "default") -> list[str]:
    """The kids of the tenant's set, once the process has read the log."""
    process.catch_up()
    return [jwk["kid"] for jwk in process.store(tenant).jwks()["keys"]]


def rotate(process: Process, key: GeneratedKey, **terms: Any) -> str:
    rotated = rotator_of(process).rotate_key(key.key_id, **terms)
    return rotated.rotation.rotation_id


@on_both
@pytest.mark.parametrize("kind", PUBLIC, ids=str)
def test_of_a_published_key_the_public_half_is_shown_and_nothing_else(
    ours: Process, theirs: Process, kind: dict[str, Any]
) -> None:
    key = issue(ours, **kind)
    issue(ours, **kind, published_for=None)
    (jwk,) = ours.store().jwks()["keys"]
    algorithm = key.spec.algorithm
    assert algorithm is not None
    assert (jwk["kid"], jwk["use"], jwk["alg"]) == (f"{key.key_id}.1", "sig", algorithm.value)
    assert not jwk.keys() & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
    assert jwk.keys() - {"kid", "use", "alg"} in (
        {"kty", "n", "e"},
        {"kty", "crv", "x", "y"},
        {"kty", "crv", "x"},
    )
    assert theirs.store().jwks()["keys"] == [jwk]
    assert shown(theirs, "other") == []


@pytest.mark.parametrize("kind", SECRET, ids=str)
def test_what_verifies_with_a_secret_is_never_published(ours: Process, kind: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="no public half") as refused:
        ours.make(**kind, published_for=HOUR)
    assert refused.value.field == "published_for"
    key = ours.issue(**kind)
    with pytest.raises(InvalidInputError, match="no public half"):
        ours.store().update_key(key.key_id, published_for=HOUR)
    assert shown(ours) == []


@pytest.mark.parametrize("seconds", [0, -1, MAX_PUBLISHED_FOR + 1, 1.5, True, "60"])
def test_for_how_long_is_bounded(ours: Process, seconds: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        issue(ours, published_for=seconds)
    assert refused.value.field == "published_for"


def test_a_key_is_published_and_withdrawn_by_an_update(ours: Process, theirs: Process) -> None:
    key = issue(ours, published_for=None)
    assert shown(ours) == shown(theirs) == []
    assert ours.store().update_key(key.key_id, published_for=HOUR).published_for == HOUR
    assert shown(ours) == shown(theirs) == [f"{key.key_id}.1"]
    ours.store().update_key(key.key_id, published_for=2 * HOUR)
    with pytest.raises(InvalidInputError, match="may last so long"):
        ours.store().update_key(key.key_id, published_for=HOUR)
    ours.store().update_key(key.key_id, published_for=None)
    assert shown(ours) == shown(theirs) == []


def test_who_could_not_have_issued_the_key_does_not_publish_it(ours: Process) -> None:
    key = issue(ours, published_for=None)
    narrow = type(BY)(actor="key:key_x", tenant="default", permissions=("keys.update",), scope=KeyScope.READ)
    with pytest.raises(ForbiddenError):
        ours.node.updater.update(key.key_id, narrow, {"published_for": HOUR})


def test_a_tenant_has_as_many_published_keys_as_its_set_may_show(ours: Process, theirs: Process) -> None:
    more = [issue(ours) for _ in range(MAX_PUBLISHED_KEYS)]
    assert len(shown(ours)) == MAX_PUBLISHED_KEYS
    unpublished, later = issue(ours, published_for=None), issue(ours, published_for=None)
    refusals: list[Callable[[], object]] = [
        lambda: issue(theirs),
        lambda: theirs.store().update_key(unpublished.key_id, published_for=HOUR),
    ]

    def assert_full() -> None:
        for refused in refusals:
            with pytest.raises(InvalidInputError, match="at most 100") as error:
                refused()
            assert error.value.field == "published_for"

    assert_full()
    ours.store().update_key(more[0].key_id, published_for=2 * HOUR)  # it is one already
    ours.store().suspend_key(more[1].key_id)
    ours.store().revoke_key(more[2].key_id)
    assert_full()  # what an ended key signed counts for an hour yet, and a suspended one may come back
    ours.store().revoke_key(more[3].key_id, "keyCompromise")
    issue(ours)
    assert_full()
    ours.store().destroy_key(more[2].key_id)
    ours.store().update_key(later.key_id, published_for=HOUR)
    assert_full()
    ours.store().revoke_key(more[4].key_id)
    ours.clock.pass_time(HOUR)
    issue(ours)
    assert_full()
    assert len(shown(ours)) == MAX_PUBLISHED_KEYS - 1, "but the suspended one"


def replaced(process: Process, key: GeneratedKey, times: int = 1) -> None:
    """Other versions take over one after the other, each after its lead."""
    rotator = rotator_of(process)
    for _ in range(times):
        rotation = rotator.rotate_key(key.key_id, strategy=RotationStrategy.IMMEDIATE).rotation
        process.clock.pass_time(LEAD_SECONDS)
        rotator.complete_rotation(rotation.rotation_id)


def test_no_version_that_signed_what_still_counts_makes_room_for_another(ours: Process) -> None:
    key, rotator = issue(ours, published_for=LONG), rotator_of(ours)
    replaced(ours, key, MAX_VERSIONS_LOOKED_AT - 1)
    assert len(shown(ours)) == MAX_VERSIONS_LOOKED_AT
    with pytest.raises(InvalidInputError, match="version 1 any more"):
        rotator.rotate_key(key.key_id)
    problem = rotator.preview_rotation(key.key_id).problem
    assert problem is not None
    assert "no room" in problem
    assert f"{key.key_id}.1" in shown(ours)
    rotator.rotate_key(key.key_id, compromised=True)  # which never waits
    ours.clock.pass_time(LONG)
    replaced(ours, key)
    assert len(shown(ours)) == 2


def test_a_key_set_shows_a_bounded_number_of_versions(ours: Process, theirs: Process) -> None:
    keys = [issue(ours, published_for=LONG) for _ in range(5)]
    unpublished = issue(ours, published_for=None)
    for key in keys:
        replaced(ours, key, MAX_PUBLISHED_VERSIONS // 5 - 1)
    assert len(shown(ours)) == MAX_PUBLISHED_VERSIONS
    with pytest.raises(InvalidInputError, match="400 versions already"):
        rotator_of(theirs).rotate_key(keys[0].key_id)
    for refused in (
        lambda: issue(theirs),
        lambda: theirs.store().update_key(unpublished.key_id, published_for=HOUR),
    ):
        with pytest.raises(InvalidInputError, match="at most 400 versions"):
            refused()
    rotator_of(theirs).rotate_key(keys[0].key_id, compromised=True)
    assert len(shown(ours)) == MAX_PUBLISHED_VERSIONS
    theirs.store("other").store_key(theirs.make(key_type=KeyType.JWT, published_for=HOUR))
    ours.clock.pass_time(LONG)
    issue(theirs)
    assert len(shown(ours)) == 6


def test_ended_keys_are_not_remembered(ours: Process) -> None:
    for _ in range(5):
        key = issue(ours)
        ours.store().revoke_key(key.key_id)
        shown(ours)
        ours.clock.pass_time(HOUR)
    assert len(shown(ours)) == 0
    issue(ours)
    shown(ours)
    assert len(ours.node.published._shown) == 1


# -- what a published key signs -------------------------------------------------------------------------------------


def test_a_token_of_a_published_key_ends_while_others_can_verify_it(ours: Process) -> None:
    key, store = issue(ours), ours.store()
    now = int(ours.clock.now().timestamp())
    claims = store.verify_jwt(store.sign_jwt(key.key_id, {}).token).claims
    assert claims == {"iat": now, "exp": now + HOUR}
    store.sign_jwt(key.key_id, {}, expires_in=HOUR)
    for exp in (now + HOUR, now + 0.5):
        store.sign_jwt(key.key_id, {"exp": exp})
    with pytest.raises(InvalidInputError) as refused:
        store.sign_jwt(key.key_id, {}, expires_in=HOUR + 1)
    assert refused.value.field == "expires_in"
    for unfit in (now + HOUR + 1, 1e300, "tomorrow", None):
        with pytest.raises(InvalidInputError) as refused:
            store.sign_jwt(key.key_id, {"exp": unfit})
        assert refused.value.field == "claims.exp"


HEADER: Final = json.dumps({"alg": "ES256", "kid": "key_x.1"})
TOKENS: Final = {
    "a header": in_base64(HEADER.encode()),
    "one without an algorithm": in_base64(b"{}"),
    "another first member": in_base64(b'{"typ":"JWT","alg":"ES256"}'),
    "white space": in_base64(f" \n{{\t{HEADER[1:]}".encode()),
    "padded": base64.urlsafe_b64encode(HEADER.encode() + b" "),
    "with what is skipped": b"!" + b"\n".join(bytes([each]) for each in in_base64(HEADER.encode())),
    "UTF-16": in_base64(HEADER.encode("utf-16")),
    "UTF-16 without a mark": in_base64(HEADER.encode("utf-16-be")),
    "UTF-8 with a mark": in_base64(b"\xef\xbb\xbf" + HEADER.encode()),
}


@pytest.mark.parametrize("head", TOKENS)
def test_a_published_key_signs_no_token_as_if_it_were_data(ours: Process, head: str) -> None:
    key = issue(ours, key_type=KeyType.ECDSA)
    for payload in (in_base64(b'{"exp":9999999999}'), b"", b"a.b"):
        with pytest.raises(InvalidInputError) as refused:
            ours.store().sign(key.key_id, TOKENS[head] + b"." + payload)
        assert refused.value.field == "data"
        assert "type jwt" in refused.value.fix


@pytest.mark.parametrize(
    "data", [b"", b".", b".e30", b"a.b", b"eyes. And ears.", bytes(range(256)), in_base64(HEADER.encode())]
)
def test_a_published_key_signs_what_is_no_token(ours: Process, data: bytes) -> None:
    key, store = issue(ours, key_type=KeyType.ECDSA), ours.store()
    assert store.verify_signature(key.key_id, data, store.sign(key.key_id, data).value)


def test_what_is_refused_is_what_others_take_for_a_token(ours: Process) -> None:
    key, store = issue(ours, key_type=KeyType.ECDSA, published_for=None), ours.store()
    data = TOKENS["a header"] + b"." + in_base64(b'{"sub":"admin"}')
    r, s = decode_dss_signature(store.sign(key.key_id, data).value)
    token = data + b"." + in_base64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    store.update_key(key.key_id, published_for=60)
    (jwk,) = store.jwks()["keys"]
    assert jwt.decode(token, jwt.PyJWK(jwk).key, algorithms=["ES256"]) == {"sub": "admin"}
    with pytest.raises(InvalidInputError, match="would be a token"):
        store.sign(key.key_id, data)


# -- through a rotation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", RotationStrategy)
def test_the_next_version_is_shown_before_it_signs_and_the_last_until_its_tokens_have_ended(
    ours: Process, theirs: Process, strategy: RotationStrategy
) -> None:
    key, rotator, store = issue(ours), rotator_of(ours), ours.store()
    first_shown: dict[str, float] = {f"{key.key_id}.1": -LEAD_SECONDS}
    last_exp: dict[str, float] = {}
    at, start = 0.0, ours.clock.now().timestamp()
    shown(ours)
    rotation_id = rotate(ours, key, strategy=strategy)
    seen: list[list[str]] = []
    while at < 20 * 24 * HOUR:
        kids = shown(ours)
        assert kids == shown(theirs)
        for kid in kids:
            first_shown.setdefault(kid, at)
        signed = store.sign_jwt(key.key_id, {})
        kid = f"{key.key_id}.{signed.version}"
        assert kid in kids, "what signs is shown"
        assert at - first_shown[kid] >= LEAD_SECONDS, "and was for longer than anybody keeps a set"
        last_exp[kid] = start + at + HOUR
        for other, exp in last_exp.items():
            assert other in kids or exp <= start + at, "what may be verified can be verified"
        if not seen or seen[-1] != kids:
            seen.append(kids)
        step = 60 if at < 2 * HOUR else HOUR / 2
        ours.clock.pass_time(step)
        at += step
        rotator.check_rotation_schedules()
    assert rotator.get_rotation(rotation_id).stage.value == "completed"
    one, two = f"{key.key_id}.1", f"{key.key_id}.2"
    assert seen == [[two, one], [two]]


def test_a_rotation_that_is_rolled_back_leaves_both_until_their_tokens_have_ended(ours: Process) -> None:
    key, rotator = issue(ours), rotator_of(ours)
    rotation_id = rotate(ours, key, strategy=RotationStrategy.OVERLAPPING)
    ours.clock.pass_time(LEAD_SECONDS)
    rotator.check_rotation_schedules()
    assert ours.store().sign_jwt(key.key_id, {}).version == 2
    rotator.rollback_rotation(rotation_id)
    both = [f"{key.key_id}.2", f"{key.key_id}.1"]
    assert shown(ours) == both
    ours.clock.pass_time(HOUR - 1)
    assert shown(ours) == both
    ours.clock.pass_time(1)
    assert shown(ours) == [f"{key.key_id}.1"]


def test_the_preview_says_that_the_next_version_waits(ours: Process) -> None:
    key = issue(ours)
    stages = rotator_of(ours).preview_rotation(key.key_id, strategy=RotationStrategy.IMMEDIATE).stages
    assert [stage.stage.value for stage in stages] == ["staged", "completed"]
    assert (stages[1].at - stages[0].at).total_seconds() == LEAD_SECONDS


@pytest.mark.parametrize("strategy", RotationStrategy)
@pytest.mark.parametrize("is_paused", [False, True])
def test_nobody_lets_the_next_version_sign_before_others_know_it(
    ours: Process, strategy: RotationStrategy, is_paused: bool
) -> None:
    key, rotator = issue(ours), rotator_of(ours)
    rotation_id = rotate(ours, key, strategy=strategy)
    if is_paused:
        rotator.pause_rotation(rotation_id)
    for passed in (0, LEAD_SECONDS - 1):
        ours.clock.pass_time(passed)
        with pytest.raises(IllegalTransitionError, match="signs nothing before") as refused:
            rotator.complete_rotation(rotation_id)
        assert "as compromised" in refused.value.fix
        assert ours.store().sign_jwt(key.key_id, {}).version == 1
    ours.clock.pass_time(1)
    rotator.complete_rotation(rotation_id)
    assert ours.store().sign_jwt(key.key_id, {}).version == 2


def test_a_compromised_version_is_gone_at_once(ours: Process, theirs: Process) -> None:
    key = issue(ours)
    assert shown(theirs) == [f"{key.key_id}.1"]
    rotator_of(ours).rotate_key(key.key_id, compromised=True)
    assert shown(ours) == shown(theirs) == [f"{key.key_id}.2"]
    assert ours.store().sign_jwt(key.key_id, {}).version == 2


Act = Callable[[Process, GeneratedKey], object]
ENDINGS: Final[dict[str, tuple[Act, bool]]] = {
    "revoke": (lambda process, key: process.store().revoke_key(key.key_id), True),
    "compromise": (lambda process, key: process.store().revoke_key(key.key_id, "keyCompromise"), False),
    "suspend": (lambda process, key: process.store().suspend_key(key.key_id), False),
    "destroy": (lambda process, key: process.store().destroy_key(key.key_id), False),
    "revoke the owner": (lambda process, _: process.store().revoke_owner("ada"), True),
    "compromise the owner": (lambda process, _: process.store().revoke_owner("ada", "keyCompromise"), False),
}


@on_both
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ended_key_is_shown_as_long_as_what_it_signed_counts(
    ours: Process, theirs: Process, ending: str
) -> None:
    """As `verify_jwt` has it: what others verify must not differ from what is verified here."""
    key = issue(ours, owner="ada")
    kid = f"{key.key_id}.1"
    assert shown(ours) == shown(theirs) == [kid]
    token = ours.store().sign_jwt(key.key_id, {}).token
    act, counts = ENDINGS[ending]
    act(theirs, key)
    assert shown(ours) == shown(theirs) == ([kid] if counts else [])
    assert bool(ours.store().verify_jwt(token)) is counts
    ours.clock.pass_time(HOUR)
    assert shown(ours) == shown(theirs) == []


def test_a_suspended_key_is_back_when_it_is_resumed(ours: Process) -> None:
    key = issue(ours)
    ours.store().suspend_key(key.key_id)
    assert shown(ours) == []
    ours.store().resume_key(key.key_id)
    assert shown(ours) == [f"{key.key_id}.1"]


def test_a_key_that_expires_is_shown_until_its_tokens_have(ours: Process) -> None:
    key = issue(ours, expires_in=60)
    assert shown(ours)
    ours.clock.pass_time(60 + HOUR - 1)
    ours.node.lifecycle.expire_all()  # whenever that is recorded
    assert shown(ours) == [f"{key.key_id}.1"]
    ours.clock.pass_time(1)
    assert shown(ours) == []


# -- following the log ----------------------------------------------------------------------------------------------


def test_the_store_is_read_for_changes_and_not_for_whoever_asks(ours: Process, theirs: Process) -> None:
    issue(ours)
    shown(ours)
    before = ours.ledger.calls.copy()
    for tenant in ("default", *(f"tenant-{number}" for number in range(200))):
        assert ours.node.published.is_current(tenant)
        ours.node.published.of(tenant)
    assert ours.ledger.calls == before
    others = [theirs.issue() for _ in range(50)]
    shown(ours)
    read = ours.ledger.calls["read"] - before["read"]
    assert read <= 2, "one glance at all that has changed"
    assert others


def test_a_change_is_shown_however_much_else_has_changed(ours: Process, theirs: Process) -> None:
    assert shown(ours) == []
    keys = [theirs.issue() for _ in range(20)]
    key = issue(theirs, metadata={"published_for": 1})
    for each in keys:
        theirs.update(each, metadata={'"published_for":': 1})
    assert shown(ours) == [f"{key.key_id}.1"]


def test_while_the_store_does_not_answer_what_is_known_grows_old(ours: Process, theirs: Process) -> None:
    key = issue(ours)
    published = ours.node.published
    assert shown(ours)
    theirs.store().revoke_key(key.key_id, "keyCompromise")
    ours.ledger.fail(StorageError("gone"))
    ours.clock.pass_time(CACHE_SECONDS)
    assert not published.is_current("default")
    with pytest.raises(StorageError):
        published.refresh("default")
    assert published.age("default") >= CACHE_SECONDS
    ours.ledger.work_again()
    assert shown(ours) == []
    assert published.age("default") < 1


def test_a_change_is_not_lost_when_it_could_not_be_read(ours: Process) -> None:
    key = issue(ours)
    assert shown(ours)
    ours.store().suspend_key(key.key_id)
    ours.ledger.fail(StorageError("gone"), "read")
    for _ in range(2):
        with pytest.raises(StorageError):
            ours.node.published.refresh("default")
        assert not ours.node.published.is_current("default")
    ours.ledger.work_again()
    assert shown(ours) == []


# -- what a writer of the store gains -------------------------------------------------------------------------------


def written(place: Store, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(parse_url(place.url))) as connection, connection:
        connection.execute(statement, values)


def test_a_key_whose_row_was_altered_is_not_shown_and_the_others_are(
    ours: Process, theirs: Process, place: Store
) -> None:
    key, other = issue(ours), issue(ours)
    assert len(shown(ours)) == 2
    ours.update(key, name="a")  # so that it is looked at again
    written(place, "UPDATE rows SET body = replace(body, '3600', '3601') WHERE id = ?", key.key_id)
    assert shown(ours) == shown(theirs) == [f"{other.key_id}.1"]


def test_a_public_key_that_was_exchanged_is_not_shown(ours: Process, theirs: Process, place: Store) -> None:
    key, other = issue(ours), issue(ours)
    theirs_ = f"{other.key_id}.1", f"{key.key_id}.1"
    written(place, "UPDATE rows SET body = (SELECT body FROM rows WHERE id = ?) WHERE id = ?", *theirs_)
    assert shown(theirs) == [f"{other.key_id}.1"]


def test_a_row_of_before_the_end_that_is_put_back_is_not_shown(
    ours: Process, theirs: Process, place: Store
) -> None:
    key = issue(ours)
    assert shown(ours)
    row = ours.ledger.inner.read((key.key_id,))[0]
    assert row is not None
    ours.store().revoke_key(key.key_id, "keyCompromise")
    written(
        place,
        "UPDATE rows SET body = ?, seal = ?, revision = ? WHERE id = ?",
        row.body,
        row.seal,
        row.revision,
        key.key_id,
    )
    assert shown(ours) == shown(theirs) == []


def test_where_the_log_does_not_hold_nothing_is_shown(ours: Process, theirs: Process, place: Store) -> None:
    issue(ours)
    assert shown(theirs)
    issue(ours)
    written(place, "UPDATE log SET entry = x'00' WHERE position = (SELECT max(position) FROM log)")
    for _ in range(2):
        with pytest.raises(IntegrityError):
            theirs.store().jwks() if theirs.node.records.log.is_broken else shown(theirs)
    with pytest.raises(IntegrityError):
        theirs.node.published.of("default")
