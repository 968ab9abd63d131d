import hashlib

import pytest

from keyturn.domain.entry import RowMark
from keyturn.domain.floor import Floor
from keyturn.errors import IntegrityError
from tests.unit.crypto.samples import vectors

VECTOR = vectors("row")["floor"]
MARKS = [RowMark(row_id, revision, bytes.fromhex(digest)) for row_id, revision, digest in VECTOR["marks"]]

KEY, VERSION = "key_0123456789ABCDEFGHIJKL", "key_0123456789ABCDEFGHIJKL.1"
OWNER, KEYRING = "own_0123456789ABCDEFGHIJKL", "keyring"
POLICY, ENDPOINT = "pol_0123456789ABCDEFGHIJKL", "whe_0123456789ABCDEFGHIJKL"
ROTATION, PICK_UP = "rot_0123456789ABCDEFGHIJKL", "pku_0123456789ABCDEFGHIJKL"


def digest(body: str) -> bytes:
    return hashlib.sha256(body.encode()).digest()


def mark(row_id: str, revision: int, body: str = "body") -> RowMark:
    return RowMark(row_id, revision, digest(body))


def floor_of(*marks: RowMark) -> Floor:
    floor = Floor()
    floor.raise_to(marks)
    return floor


def test_the_row_before_a_change_is_not_admitted_after_it() -> None:
    """The attack that a seal alone misses: putting back the row from before a revocation."""
    floor = floor_of(mark(KEY, 1, "active"), mark(KEY, 2, "revoked"))
    assert floor.admits(KEY, 2, digest("revoked"))
    assert not floor.admits(KEY, 1, digest("active"))


def test_another_body_of_the_same_revision_is_not_admitted() -> None:
    """Each commit that loses a conflict has sealed one."""
    floor = floor_of(mark(KEY, 2, "won"))
    assert not floor.admits(KEY, 2, digest("lost"))


def test_a_row_ahead_of_the_log_is_not_admitted() -> None:
    floor = floor_of(mark(KEY, 2))
    assert not floor.admits(KEY, 3, digest("body"))
    assert not floor.admits(VERSION, 2, digest("body"))


@pytest.mark.parametrize("row_id", [KEY, VERSION, ROTATION, PICK_UP])
def test_a_row_that_was_never_changed_is_admitted_as_it_was_made_and_takes_no_room(row_id: str) -> None:
    """The floor stays as small as the number of changed rows."""
    floor = floor_of(mark(row_id, 1))
    assert len(floor) == 0
    assert floor.admits(row_id, 1, digest("body"))
    assert not floor.admits(row_id, 2, digest("body"))


@pytest.mark.parametrize("row_id", [OWNER, KEYRING, POLICY, ENDPOINT])
def test_a_row_whose_absence_means_something_is_kept_from_its_creation(row_id: str) -> None:
    """Without its row an owner would seem never to have been revoked, keys to need no rotation, nobody to be told."""
    floor = floor_of(mark(row_id, 1))
    assert len(floor) == 1
    assert floor.admits(row_id, 1, digest("body"))
    assert not floor.admits(row_id, 1, digest("another"))
    assert not floor.admits_absence(row_id)
    assert not Floor().admits(row_id, 1, digest("body"))
    assert Floor().admits_absence(row_id)


def test_a_changed_row_may_not_vanish() -> None:
    assert not floor_of(mark(KEY, 2)).admits_absence(KEY)
    assert floor_of(mark(KEY, 2)).admits_absence(OWNER)


@pytest.mark.parametrize(
    ("row_id", "revisions"), [(KEY, (2, 2)), (KEY, (3, 2)), (OWNER, (1, 1)), (OWNER, (2, 1))]
)
def test_a_log_that_goes_back_is_refused(row_id: str, revisions: tuple[int, int]) -> None:
    first, second = revisions
    floor = floor_of(mark(row_id, first))
    with pytest.raises(IntegrityError, match=f"revision {second} of a row after {first}"):
        floor.raise_to([mark(row_id, second)])
    assert floor.admits(row_id, first, digest("body"))


@pytest.mark.parametrize("revision", [0, -1])
def test_a_revision_below_one_is_refused(revision: int) -> None:
    with pytest.raises(IntegrityError):
        Floor().raise_to([mark(KEY, revision)])


def test_the_newest_revision_of_a_row_is_told_and_none_of_one_that_was_never_changed() -> None:
    floor = floor_of(mark(KEY, 3), mark(OWNER, 1), mark(VERSION, 1))
    assert [floor.revision(row) for row in (KEY, OWNER, VERSION)] == [3, 1, 0]


def test_a_closed_row_is_never_admitted_again_whatever_the_log_says_of_it() -> None:
    """What a process saw revoked stays revoked in it, whatever a restored store says."""
    floor = floor_of(mark(KEY, 2, "theirs"))
    assert not Floor().has_closed
    floor.close(floor_of(mark(KEY, 2, "ours"), mark(OWNER, 1, "ours")))
    assert floor.has_closed
    for revision in (2, 3):
        floor.raise_to([mark(KEY, revision, "theirs")])
        assert not floor.admits(KEY, revision, digest("theirs"))
    assert not floor.admits(KEY, 2, digest("ours"))
    assert not floor.admits_absence(OWNER)
    assert floor.admits(VERSION, 1, digest("any"))


def test_what_was_closed_stays_closed_in_the_next_floor() -> None:
    before = floor_of(mark(KEY, 2))
    before.close(floor_of(mark(OWNER, 4)))
    after = floor_of(mark(KEY, 2))
    after.close(before.copy())
    assert not after.admits_absence(OWNER)
    assert not after.admits(KEY, 2, digest("any"))


def test_only_a_row_that_is_told_of_as_it_is_kept_is_struck() -> None:
    floor = floor_of(mark(KEY, 2, "ours"), mark(OWNER, 1, "ours"), mark(VERSION, 3, "ours"))
    copied = floor.copy()
    copied.strike([mark(KEY, 2, "ours"), mark(OWNER, 1, "theirs"), mark(VERSION, 4, "ours")])
    assert [copied.revision(row) for row in (KEY, OWNER, VERSION)] == [0, 1, 3]
    assert floor.revision(KEY) == 2


def test_a_floor_has_the_bytes_that_the_format_says() -> None:
    """docs/formats/row.md, by an implementation of its own."""
    floor = floor_of(*MARKS)
    assert floor.to_bytes().hex() == VECTOR["bytes"]


def test_a_floor_comes_back_from_its_bytes() -> None:
    floor = Floor.from_bytes(bytes.fromhex(VECTOR["bytes"]))
    assert len(floor) == len(MARKS)
    assert all(floor.admits(*each) for each in MARKS)
    assert not any(floor.admits(each.id, each.revision - 1, each.digest) for each in MARKS)
    assert len(Floor.from_bytes(b"")) == 0


def test_the_order_of_its_bytes_does_not_matter_to_a_floor() -> None:
    floor = Floor.from_bytes(floor_of(*reversed(MARKS)).to_bytes())
    assert all(floor.admits(*each) for each in MARKS)
    assert len(floor) == len(MARKS)


def test_the_longest_row_id_fits() -> None:
    longest = "key_0123456789ABCDEFGHIJKL.2147483647"
    floor = Floor.from_bytes(floor_of(mark(longest, 2)).to_bytes())
    assert floor.admits(longest, 2, digest("body"))


def test_what_a_list_leaves_out_is_known() -> None:
    other = POLICY[:-1] + "M"
    floor = floor_of(mark(POLICY, 1), mark(other, 2), mark(ENDPOINT, 1), mark(OWNER, 1), mark(KEY, 2))
    for each in (floor, floor.copy(), Floor.from_bytes(floor.to_bytes())):
        assert each.left_out("pol_", ()) == [POLICY, other]
        assert each.left_out("pol_", {POLICY}) == [other]
        assert each.left_out("whe_", {ENDPOINT}) == []
    floor.strike([mark(POLICY, 1)])
    assert floor.left_out("pol_", ()) == [other]


def test_a_floor_knows_how_many_bytes_it_takes() -> None:
    floor = floor_of(*MARKS)
    assert floor.size == len(floor.to_bytes())
    assert Floor().size == 0
