"""What is kept of a credential: enough for every answer, and shared where keys have the same."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyturn.domain.scope import Action, KeyScope
from keyturn.verifier.entries import NO_OWNER, Standing, scope_bits
from tests.unit.verifier.samples import AT, digest_of, entry_of, key_id_of


def test_an_entry_has_what_an_answer_says() -> None:
    expiry = AT + timedelta(days=1, microseconds=7)
    entry = entry_of(
        5,
        owner="acme",
        scope=KeyScope.READ_WRITE,
        permissions=("documents.*",),
        metadata={"plan": "gold"},
        expires_at=expiry,
        version={"number": 3},
    )
    assert (entry.key_id, entry.version, entry.tenant, entry.owner) == (key_id_of(5), 3, "default", "acme")
    assert (entry.scope, entry.permissions) == (KeyScope.READ_WRITE, ("documents.*",))
    assert (dict(entry.metadata), entry.expires_at) == ({"plan": "gold"}, expiry)
    assert (entry.credential_id, entry.digest) == (f"{5:016}", digest_of(5))


def test_keys_with_the_same_grants_share_them() -> None:
    """There may be half a million of them, and a decision should find its memory in the processor's cache."""
    first, second = entry_of(1, permissions=("a.b", "c.*")), entry_of(2, permissions=("a.b", "c.*"))
    assert first.grants is second.grants
    assert first.metadata is second.metadata
    assert first.grants is not entry_of(3, permissions=("c.*", "a.b")).grants


def test_what_is_attached_to_no_key_cannot_be_written_to() -> None:
    """All keys without metadata have the same."""
    with pytest.raises(TypeError):
        entry_of().metadata["plan"] = "gold"  # type: ignore[index]


def test_an_entry_has_no_room_for_more() -> None:
    """A dictionary in each would double the memory of the cache."""
    with pytest.raises(AttributeError):
        entry_of().anything = 1  # type: ignore[attr-defined]


def test_each_action_is_a_bit_of_its_own() -> None:
    single = [scope_bits(scope) for scope in (KeyScope.READ, KeyScope.WRITE, KeyScope.ADMIN)]
    assert sorted(single) == [1, 2, 4]
    assert scope_bits(KeyScope.READ_WRITE) == single[0] | single[1]
    assert scope_bits(KeyScope.FULL) == 2 ** len(Action) - 1


@pytest.mark.parametrize("falls", ["key", "owner"])
def test_an_entry_is_current_until_something_new_is_known_of_its_key_or_its_owner(falls: str) -> None:
    standing = Standing()
    entry, of_the_same_owner, of_nobody = (
        entry_of(1, standing=standing),
        entry_of(2, standing=standing),
        entry_of(3),
    )
    everybody = (entry, of_the_same_owner, of_nobody)
    assert [each.is_current for each in everybody] == [True, True, True]
    if falls == "key":
        entry.is_key_current = False
    else:
        standing.is_current = False
    assert [each.is_current for each in everybody] == [False, falls == "key", True]
    assert NO_OWNER.is_current
