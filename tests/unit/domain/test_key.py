from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.domain import ids
from keyturn.domain.key import Key, KeyLength, KeyType, Owner, Version
from keyturn.domain.lifecycle import TRANSITIONS, Act, KeyState, RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.errors import IllegalTransitionError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
KEY_ID = "key_0123456789ABCDEFGHIJKL"

KEY = Key(
    key_id=KEY_ID,
    tenant="acme",
    type=KeyType.API_TOKEN,
    scope=KeyScope.READ,
    length=KeyLength.BITS_256,
    state_changed_at=NOON,
    owner="ada",
    owner_row="own_0123456789ABCDEFGHIJKL",
    owner_epoch=2,
    permissions=("documents.read",),
    metadata={"plan": "pro"},
    created_at=NOON,
    updated_at=NOON,
)
VERSION = Version(
    key_id=KEY_ID,
    tenant="acme",
    number=7,
    type=KeyType.API_TOKEN,
    state_changed_at=NOON,
    credential_id="0123456789ABCDEF",
    digest=bytes(32),
    custody="sealed",
    created_at=NOON,
    material=b"sealed material",
)
OWNER = Owner(
    row_id="own_0123456789ABCDEFGHIJKL",
    tenant="acme",
    id="ada",
    epoch=1,
    revoked_at=NOON,
    reason=RevocationReason.UNSPECIFIED,
)
LEGAL = [(state, act, after) for state, acts in TRANSITIONS.items() for act, after in acts.items()]
ILLEGAL = [(state, act) for state, acts in TRANSITIONS.items() for act in Act if act not in acts]


@pytest.mark.parametrize(("state", "act", "after"), LEGAL)
def test_an_act_changes_the_state_the_time_and_the_revision_and_nothing_else(
    state: KeyState, act: Act, after: KeyState
) -> None:
    key, version = replace(KEY, state=state, revision=4), replace(VERSION, state=state, revision=4)
    changed = key.after(act, LATER)
    assert changed == replace(key, state=after, state_changed_at=LATER, updated_at=LATER, revision=5)
    left = {"custody": None, "material": None} if after is KeyState.DESTROYED else {}
    assert version.after(act, LATER) == replace(
        version,
        state=after,
        state_changed_at=LATER,
        revision=5,
        **left,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("state", "act"), ILLEGAL)
def test_an_act_that_the_state_does_not_allow_is_refused(state: KeyState, act: Act) -> None:
    for value in (replace(KEY, state=state), replace(VERSION, state=state)):
        with pytest.raises(IllegalTransitionError):
            value.after(act, LATER)


def test_the_key_before_an_act_stays_as_it_was() -> None:
    before = replace(KEY)
    KEY.after(Act.SUSPEND, LATER)
    assert before == KEY
    for value in (KEY, VERSION, OWNER):
        for name in ("state", "epoch", "revision", "anything"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(value, name, 1)


def test_the_reason_for_revoking_a_key_outlives_its_destruction() -> None:
    revoked = KEY.after(Act.DEACTIVATE, LATER, RevocationReason.SUPERSEDED)
    assert revoked.reason is RevocationReason.SUPERSEDED
    assert revoked.after(Act.DESTROY, LATER).reason is RevocationReason.SUPERSEDED
    assert revoked.after(Act.COMPROMISE, LATER, RevocationReason.KEY_COMPROMISE).reason is (
        RevocationReason.KEY_COMPROMISE
    )
    assert KEY.after(Act.SUSPEND, LATER).reason is None


def test_a_destroyed_version_keeps_its_digest_and_no_material() -> None:
    """So that a destroyed token is told from a stranger's, and its secret is gone."""
    destroyed = VERSION.after(Act.DESTROY, LATER)
    assert (destroyed.material, destroyed.custody) == (None, None)
    assert (destroyed.digest, destroyed.credential_id) == (VERSION.digest, VERSION.credential_id)


def test_a_key_expires_at_its_expiry_and_not_after_it() -> None:
    """Intervals are half open: the instant of the expiry is outside."""
    key = replace(KEY, expires_at=LATER)
    assert not key.is_expired(LATER - timedelta(microseconds=1))
    assert key.is_expired(LATER)
    assert key.is_expired(LATER + timedelta(days=1))


def test_a_key_has_run_out_when_it_ended_and_nobody_revoked_it() -> None:
    """A revocation always has a reason, and it is what a caller must be told."""
    ended = KEY.after(Act.DEACTIVATE, LATER)
    assert ended.has_run_out
    assert not KEY.after(Act.DEACTIVATE, LATER, RevocationReason.UNSPECIFIED).has_run_out
    assert not KEY.has_run_out
    assert not KEY.after(Act.SUSPEND, LATER).has_run_out
    assert not ended.after(Act.COMPROMISE, LATER, RevocationReason.KEY_COMPROMISE).has_run_out
    assert not ended.after(Act.DESTROY, LATER).has_run_out


def test_a_key_without_an_expiry_never_expires() -> None:
    assert not KEY.is_expired(datetime(9999, 12, 31, tzinfo=UTC))


def test_what_is_new_begins_at_one_and_is_active() -> None:
    assert (KEY.revision, KEY.version, KEY.state, KEY.recoverable) == (1, 1, KeyState.ACTIVE, False)
    assert (VERSION.revision, VERSION.state, OWNER.revision) == (1, KeyState.ACTIVE, 1)
    unowned = Key(
        key_id=KEY_ID,
        tenant="acme",
        type=KeyType.HMAC,
        scope=KeyScope.READ,
        length=KeyLength.BITS_256,
        state_changed_at=NOON,
        created_at=NOON,
        updated_at=NOON,
    )
    assert (unowned.owner, unowned.owner_row, unowned.owner_epoch) == (None, None, 0)


def test_rows_are_named_after_what_they_hold() -> None:
    assert KEY.row_id == KEY_ID
    assert VERSION.row_id == ids.version_row_id(KEY_ID, 7) == f"{KEY_ID}.7"


@pytest.mark.parametrize("key_type", KeyType)
def test_tokens_are_the_types_that_a_holder_presents(key_type: KeyType) -> None:
    assert key_type.is_token is (key_type in (KeyType.API_TOKEN, KeyType.PROVISIONING))
    assert key_type.value == key_type.name.lower()


def test_a_length_is_its_number_of_bits() -> None:
    assert {length.name for length in KeyLength} == {f"BITS_{int(length)}" for length in KeyLength}
    assert KeyLength(256) is KeyLength.BITS_256
