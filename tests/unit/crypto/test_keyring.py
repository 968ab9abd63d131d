import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from itertools import product

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.crypto.keyring import MAX_DATA_KEYS, SEAL_BYTES, Keyring, Purpose, UnknownDataKeyError
from keyturn.crypto.keyring_body import create_keyring, keyring_put, open_keyring, renewed_keyring
from keyturn.crypto.sealing import open_material
from keyturn.domain import canonical, ids
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.framing import framed
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError, InvalidInputError, KeysUnavailableError, WrongKekError
from tests.unit.crypto.samples import (
    DEKS,
    LOG_ID,
    LOOKUP_KEY,
    SEALED,
    Vector,
    flipped,
    keyring,
    named,
    scripted,
    vectors,
)

ROWS = vectors("row")
MESSAGE = b"what is sealed"
OTHER_LOG = "FEDCBA9876543210"
NEW_KEK = "hex:" + "4e" * 32
SEAL_INFOS = {purpose.name.lower(): purpose.value for purpose in Purpose}


def holds(held: Keyring, purpose: Purpose, message: bytes, seal: bytes) -> bool:
    try:
        held.check(purpose, message, seal)
    except IntegrityError:
        return False
    return True


def local_wrapper(setting: str = SEALED["kek"]) -> LocalKeyWrapper:
    return LocalKeyWrapper.from_setting(Secret(setting))


class CloudWrapper:
    """A KeyWrapper that keeps what it wraps and gives out receipts."""

    uri = "fake:key-7"

    def __init__(self) -> None:
        self.kept: dict[bytes, tuple[bytes, Mapping[str, str]]] = {}

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        receipt = b"receipt %d" % len(self.kept)
        self.kept[receipt] = key, dict(context)
        return receipt

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        key, original = self.kept[wrapped]
        if context != original:
            raise IntegrityError("another context")
        return key


class CountingWrapper(CloudWrapper):
    """One that remembers what it was asked to unwrap."""

    def __init__(self) -> None:
        super().__init__()
        self.unwrapped: list[Mapping[str, str]] = []

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        self.unwrapped.append(context)
        return super().unwrap(wrapped, context)


def retired_keyring() -> Keyring:
    """The keyring of the vectors, in which data key 1 is retired."""
    vector = next(vector for vector in SEALED["keyrings"] if "minimum" in vector)
    return open_keyring(json.loads(vector["body"]), local_wrapper(), LOG_ID)


# Seals


@named(ROWS["rows"])
def test_a_seal_is_what_the_format_says(vector: Vector) -> None:
    """docs/formats/row.md, by an implementation of its own."""
    raw, seal = vector["body"].encode(), bytes.fromhex(vector["seal"])
    assert keyring(vector["dek"]).seal(Purpose.ROW, raw) == seal
    for primary in DEKS:
        keyring(primary).check(Purpose.ROW, raw, seal)
    assert hashlib.sha256(raw).hexdigest() == vector["digest"]


@named(ROWS["seals_refused"])
def test_a_seal_that_was_not_made_for_this_row_here_is_refused(vector: Vector) -> None:
    with pytest.raises(IntegrityError, match=r"^a row seal does not hold$"):
        keyring().check(Purpose.ROW, vector["body"].encode(), bytes.fromhex(vector["seal"]))


def test_every_way_to_fail_has_a_vector() -> None:
    failures = {"seal", "purpose", "log", "dek", "derivation", "format", "length"}
    assert {vector["failure"] for vector in ROWS["seals_refused"]} == failures


@pytest.mark.parametrize(("made", "asked"), list(product(Purpose, Purpose)), ids=lambda each: each.name)
def test_a_seal_for_one_purpose_is_worth_nothing_for_another(made: Purpose, asked: Purpose) -> None:
    assert holds(keyring(), asked, MESSAGE, keyring().seal(made, MESSAGE)) is (made is asked)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_seal_of_one_log_is_worth_nothing_in_another(purpose: Purpose) -> None:
    """Two installations that share data keys, such as a restored copy, must not take each other's rows."""
    seal = keyring(log_id=OTHER_LOG).seal(purpose, MESSAGE)
    assert holds(keyring(log_id=OTHER_LOG), purpose, MESSAGE, seal)
    assert not holds(keyring(), purpose, MESSAGE, seal)


@pytest.mark.parametrize("purpose", Purpose)
def test_every_flipped_byte_breaks_a_seal(purpose: Purpose) -> None:
    """OWASP Key Management, Storage 6: of the seal as of what it is over."""
    held = keyring()
    seal = held.seal(purpose, MESSAGE)
    assert len(seal) == SEAL_BYTES == 37
    assert not any(holds(held, purpose, MESSAGE, other) for other in flipped(seal))
    assert not any(holds(held, purpose, other, seal) for other in flipped(MESSAGE))


def test_a_seal_cut_off_at_any_length_is_refused() -> None:
    seal = keyring().seal(Purpose.HEAD, MESSAGE)
    for length in range(SEAL_BYTES):
        assert not holds(keyring(), Purpose.HEAD, MESSAGE, seal[:length])
    assert not holds(keyring(), Purpose.HEAD, MESSAGE, seal + seal[-1:])


def test_what_an_earlier_data_key_sealed_still_holds() -> None:
    """A rotation of the data key must not close the store."""
    old, new = keyring(1).seal(Purpose.ROW, MESSAGE), keyring(2).seal(Purpose.ROW, MESSAGE)
    assert (old[1:5], new[1:5]) == (b"\0\0\0\1", b"\0\0\0\2")
    assert old[5:] != new[5:]
    assert holds(keyring(2), Purpose.ROW, MESSAGE, old)
    assert holds(keyring(1), Purpose.ROW, MESSAGE, new)


def test_a_data_key_that_was_taken_out_vouches_for_nothing() -> None:
    without_first = Keyring({2: DEKS[2]}, 2, LOOKUP_KEY, LOG_ID)
    assert not holds(without_first, Purpose.ROW, MESSAGE, keyring(1).seal(Purpose.ROW, MESSAGE))


def test_a_refusal_names_the_purpose_and_nothing_else() -> None:
    for purpose in Purpose:
        with pytest.raises(IntegrityError, match=f"^a {purpose.name.lower()} seal does not hold$"):
            keyring().check(purpose, MESSAGE, b"")


# Derivation and pseudonyms


def test_a_record_under_an_unknown_data_key_is_refused() -> None:
    with pytest.raises(IntegrityError, match="data key 3"):
        keyring().derive(3, salt=bytes(16), info=b"test", length=32)


def test_each_record_has_a_key_of_its_own() -> None:
    """By data key, by salt and by purpose; and none of them is a data key itself."""
    held = keyring()
    keys = {
        held.derive(version, salt=bytes([salt]) * 16, info=info, length=32)
        for version, salt, info in product(DEKS, range(1, 4), (b"a", b"b"))
    }
    assert len(keys) == 12
    assert not keys & set(DEKS.values())


@pytest.mark.parametrize(
    "vector", SEALED["pseudonyms"], ids=lambda vector: f"{vector['tenant']}-{vector['owner']}"
)
def test_an_owner_has_one_pseudonym_for_good(vector: Vector) -> None:
    """It does not change with the data keys: the row that holds an owner's epoch must be found for ever."""
    for primary in DEKS:
        pseudonym = keyring(primary).pseudonym("owner", vector["tenant"], vector["owner"])
        assert ids.build(ids.OWNER, pseudonym) == vector["row"]


def test_owners_that_differ_in_anything_have_different_pseudonyms() -> None:
    assert len({vector["row"] for vector in SEALED["pseudonyms"]}) == len(SEALED["pseudonyms"])
    assert keyring().pseudonym("owner", "a", "b") != keyring().pseudonym("address", "a", "b")


def test_a_pseudonym_tells_nothing_without_the_look_up_key() -> None:
    other = Keyring(DEKS, 1, bytes(32), LOG_ID)
    assert other.pseudonym("owner", "default", "ada") != keyring().pseudonym("owner", "default", "ada")


@pytest.mark.parametrize("vector", SEALED["cursors"])
def test_a_cursor_is_its_position_and_a_seal_that_binds_tenant_and_filter(vector: Vector) -> None:
    raw = from_base64url(vector["cursor"])
    assert int.from_bytes(raw[:8], "big") == vector["position"]
    for tenant, asked in product((vector["tenant"], "acme"), (vector["filter"], "another")):
        message = framed("keyturn-cursor-v1", tenant, asked) + raw[:8]
        is_the_same = (tenant, asked) == (vector["tenant"], vector["filter"])
        assert holds(keyring(), Purpose.CURSOR, message, raw[8:]) is is_the_same


# The keyring's row


def test_a_keyring_is_made_as_the_format_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/formats/sealed.md. The order of the draws is no part of it; with another, mend the vector."""
    vector = SEALED["keyrings"][0]
    monkeypatch.setattr(os, "urandom", scripted(*map(bytes.fromhex, vector["randomness"])))
    held, put = create_keyring(local_wrapper(), LOG_ID)
    assert canonical.encode(put.body) == vector["body"]
    assert (put.id, put.kind, put.tenant, put.revision, put.material) == (
        "keyring",
        "keyring",
        "system",
        1,
        None,
    )
    assert held.seal(Purpose.ROW, vector["body"].encode()).hex() == vector["seal"]


@named(SEALED["keyrings"])
def test_a_keyring_row_opens_and_vouches_for_itself(vector: Vector) -> None:
    opened = open_keyring(json.loads(vector["body"]), local_wrapper(), LOG_ID)
    opened.check(Purpose.ROW, vector["body"].encode(), bytes.fromhex(vector["seal"]))
    assert opened.primary == vector["primary"]
    assert opened.seal(Purpose.HEAD, MESSAGE) == keyring(vector["primary"]).seal(Purpose.HEAD, MESSAGE)
    assert opened.pseudonym("owner", "default", "a") == keyring().pseudonym("owner", "default", "a")
    assert opened.minimum == vector.get("minimum", 1)
    assert opened.minimum_since == vector.get("minimum_since", 0)
    assert opened.revision == vector.get("revision", 1)
    for version in vector["versions"]:
        assert holds(opened, Purpose.ENTRY, MESSAGE, keyring(version).seal(Purpose.ENTRY, MESSAGE))


@named(SEALED["keyrings_refused"])
def test_a_keyring_row_that_was_altered_is_refused(vector: Vector) -> None:
    with pytest.raises(IntegrityError):
        open_keyring(json.loads(vector["body"]), local_wrapper(), LOG_ID)


@named(SEALED["retired"])
def test_a_retired_data_key_vouches_for_the_log_of_before_and_nothing_else(vector: Vector) -> None:
    """Whoever has a leaked data key must not be able to seal a row with it, or what happens from now on."""
    held = retired_keyring()
    message, seal = bytes.fromhex(vector["message"]), bytes.fromhex(vector["seal"])
    purpose = Purpose(SEAL_INFOS[vector["purpose"]])
    assert holds(keyring(), purpose, message, seal)
    if "holds" in vector:
        assert holds(held, purpose, message, seal) is vector["holds"]
        return
    held.check(purpose, message, seal)
    until = vector["until"]
    for position in (1, 57, 58, 2**40):
        assert held.accepts_at(seal, position) is (until is None or position <= until)


def test_material_under_a_retired_data_key_does_not_open() -> None:
    vector = SEALED["materials"][0]
    assert vector["dek"] == 1
    sealed, aad = bytes.fromhex(vector["sealed"]), bytes.fromhex(vector["aad"])
    open_material(keyring(), sealed, aad)
    with pytest.raises(IntegrityError, match=r"^sealed material refused$"):
        open_material(retired_keyring(), sealed, aad)


# What a process does not have


def test_a_seal_under_a_data_key_that_no_keyring_lists_is_a_finding() -> None:
    only_first = Keyring({1: DEKS[1]}, 1, LOOKUP_KEY, LOG_ID)
    for purpose in Purpose:
        with pytest.raises(UnknownDataKeyError, match=f"^a {purpose.name.lower()} seal does not hold$"):
            only_first.check(purpose, MESSAGE, keyring(2).seal(purpose, MESSAGE))


def test_a_seal_under_a_data_key_that_could_not_be_unwrapped_is_no_finding() -> None:
    """The row may well be right: this process is the one that cannot tell."""
    lacking = Keyring({1: DEKS[1]}, 1, LOOKUP_KEY, LOG_ID, listed={1, 2})
    assert lacking.missing == {2}
    with pytest.raises(KeysUnavailableError):
        lacking.check(Purpose.ROW, MESSAGE, keyring(2).seal(Purpose.ROW, MESSAGE))
    with pytest.raises(KeysUnavailableError):
        lacking.derive(2, salt=bytes(16), info=b"test", length=32)
    assert holds(lacking, Purpose.ROW, MESSAGE, keyring(1).seal(Purpose.ROW, MESSAGE))


def test_who_lacks_the_primary_data_key_seals_nothing() -> None:
    lacking = Keyring({1: DEKS[1]}, 2, LOOKUP_KEY, LOG_ID, listed={1, 2})
    for purpose in Purpose:
        with pytest.raises(KeysUnavailableError):
            lacking.seal(purpose, MESSAGE)


# A keyring that changes


def test_a_new_data_key_is_the_primary_one_and_the_old_ones_stay() -> None:
    wrapper = CloudWrapper()
    held, _ = create_keyring(wrapper, LOG_ID)
    changed = held.with_new_data_key()
    assert (changed.primary, changed.revision, held.primary) == (2, 2, 1)
    assert changed.versions == {1, 2}
    opened = open_keyring(keyring_put(changed, wrapper).body, wrapper, LOG_ID)
    assert opened.has_the_keys_of(changed)
    assert holds(opened, Purpose.ROW, MESSAGE, held.seal(Purpose.ROW, MESSAGE))
    assert holds(opened, Purpose.ROW, MESSAGE, changed.seal(Purpose.ROW, MESSAGE))
    assert not opened.has_the_keys_of(held)


def test_there_is_an_end_to_new_data_keys() -> None:
    """Each stays in the row for good, for the log's sake, and the row has a largest size."""
    held = keyring()
    while len(held.versions) < MAX_DATA_KEYS:
        held = held.with_new_data_key()
    body = canonical.encode(keyring_put(held, local_wrapper()).body)
    assert len(body) < 65_536
    with pytest.raises(InvalidInputError, match="256"):
        held.with_new_data_key()


def test_another_kek_wraps_the_same_keys() -> None:
    held, other = keyring(2), local_wrapper(NEW_KEK)
    body = keyring_put(held.rewrapped(), other).body
    assert body["revision"] == 2
    opened = open_keyring(body, other, LOG_ID)
    assert opened.has_the_keys_of(held.rewrapped())
    with pytest.raises(WrongKekError):
        open_keyring(body, local_wrapper(), LOG_ID)


def test_a_retired_data_key_is_wrapped_so_that_nobody_can_put_it_back() -> None:
    """Not even out of the very row that retires it, with its seal made anew by whoever has the leaked key."""
    wrapper = local_wrapper()
    held = keyring(2).retired_before_primary(57)
    body = dict(keyring_put(held, wrapper).body)
    assert (body["minimum"], body["minimum_since"]) == (2, 57)
    assert open_keyring(body, wrapper, LOG_ID).has_the_keys_of(held)
    for without in (
        {"minimum": None, "minimum_since": None},
        {"minimum": None, "minimum_since": None, "primary": 1},
    ):
        forged = {name: value for name, value in {**body, **without}.items() if value is not None}
        with pytest.raises(IntegrityError):
            open_keyring(forged, wrapper, LOG_ID)


def test_a_running_process_takes_over_a_new_data_key_and_unwraps_nothing_else() -> None:
    wrapper = CountingWrapper()
    held, _ = create_keyring(wrapper, LOG_ID)
    changed = held.with_new_data_key()
    body = keyring_put(changed, wrapper).body
    wrapper.unwrapped.clear()
    held.take_over(renewed_keyring(body, wrapper, held))
    assert [context["keyturn-key"] for context in wrapper.unwrapped] == ["dek-2"]
    assert held.has_the_keys_of(changed)


def test_a_running_process_goes_on_under_a_kek_that_it_does_not_have() -> None:
    held = keyring(1)
    body = keyring_put(held.rewrapped(), local_wrapper(NEW_KEK)).body
    renewed = renewed_keyring(body, local_wrapper(), held)
    assert (len(renewed.missing), renewed.revision) == (0, 2)
    assert renewed.seal(Purpose.ROW, MESSAGE) == held.seal(Purpose.ROW, MESSAGE)
    added = keyring_put(renewed.with_new_data_key(), local_wrapper(NEW_KEK)).body
    lacking = renewed_keyring(added, local_wrapper(), renewed)
    assert lacking.missing == {3}
    assert (lacking.primary, lacking.revision) == (3, 3)


@pytest.mark.parametrize(
    "earlier", [keyring(2), keyring(2).retired_before_primary(57)], ids=["more keys", "retired"]
)
def test_a_later_row_takes_nothing_back(earlier: Keyring) -> None:
    later = keyring(2) if earlier.minimum == 2 else Keyring({1: DEKS[1]}, 1, LOOKUP_KEY, LOG_ID)
    body = keyring_put(later, local_wrapper()).body
    with pytest.raises(IntegrityError, match="takes back"):
        renewed_keyring(body, local_wrapper(), earlier)


def test_a_keyring_does_not_open_in_another_log() -> None:
    with pytest.raises(IntegrityError):
        open_keyring(json.loads(SEALED["keyrings"][0]["body"]), local_wrapper(), OTHER_LOG)


def test_a_keyring_does_not_open_under_another_kek() -> None:
    """Named as what it is: a wrong setting, and no tampering."""
    with pytest.raises(WrongKekError):
        open_keyring(json.loads(SEALED["keyrings"][0]["body"]), local_wrapper("hex:" + "00" * 32), LOG_ID)


def test_any_wrapper_will_do_and_is_named_in_the_row() -> None:
    """Each key is wrapped in a context that says which it is, so that none can take another's place."""
    wrapper = CloudWrapper()
    held, put = create_keyring(wrapper, LOG_ID)
    assert put.body["wrapper"] == "fake:key-7"
    assert [context for _, context in wrapper.kept.values()] == [
        {"keyturn-log": LOG_ID, "keyturn-key": "dek-1"},
        {"keyturn-log": LOG_ID, "keyturn-key": "lookup"},
    ]
    opened = open_keyring(put.body, wrapper, LOG_ID)
    assert holds(opened, Purpose.ROW, MESSAGE, held.seal(Purpose.ROW, MESSAGE))


def test_no_two_keyrings_share_a_key() -> None:
    wrapper = CloudWrapper()
    for _ in range(100):
        create_keyring(wrapper, LOG_ID)
    keys = [key for key, _ in wrapper.kept.values()]
    assert {len(key) for key in keys} == {32}
    assert len(set(keys)) == len(keys) == 200


def test_a_keyring_and_its_row_show_no_key() -> None:
    wrapper = CloudWrapper()
    held, put = create_keyring(wrapper, LOG_ID)
    shown = f"{held!r} {held} {put}"
    for key, _ in wrapper.kept.values():
        for form in (key.hex(), to_base64url(key), repr(key)):
            assert form not in shown
    assert repr(held) == "Keyring(versions=[1], primary=1)"


def test_no_data_key_is_used_underived() -> None:
    """Each purpose has a key of its own, so a flaw in one use of a key exposes no other."""
    for purpose in Purpose:
        seal = keyring().seal(purpose, MESSAGE)
        assert seal[5:] != hmac.digest(DEKS[1], MESSAGE, "sha256")


@pytest.mark.parametrize("change", [{"more": 1}, {"primary": True}, {"v": True}])
def test_a_keyring_with_what_this_program_does_not_know_is_refused(change: dict[str, object]) -> None:
    wrapper = LocalKeyWrapper(Secret(bytes(32)))
    _, put = create_keyring(wrapper, "0123456789ABCDEF")
    with pytest.raises(IntegrityError):
        open_keyring({**put.body, **change}, wrapper, "0123456789ABCDEF")
