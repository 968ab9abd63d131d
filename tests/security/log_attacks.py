"""What can be done to the log and to its sealed head, each by name, with what has to follow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pytest

from keyturn.domain.entry import decode_entry
from keyturn.ports.ledger import LogEntry, SealedHead
from tests.security.attacker import rechained
from tests.security.scene import Scene

CLOSES: Final = "closes"
HONEST: Final = "honest"


# -- finding one's way in the log


def entries(scene: Scene) -> list[LogEntry]:
    return list(scene.chronicle.end.log)


def entry_of(scene: Scene, event_type: str, label: str) -> LogEntry:
    """The last entry of this type that is about this key."""
    decoded = [(stored, decode_entry(stored.entry)) for stored in entries(scene)]
    found = [s for s, entry in decoded if entry.type == event_type and scene.key_id(label) in entry.subjects]
    return found[-1]


def revocation(scene: Scene) -> LogEntry:
    return entry_of(scene, "key_revoked", "revoked")


def sealed_head(scene: Scene) -> SealedHead:
    sealed = scene.chronicle.end.sealed_head
    assert sealed is not None
    return sealed


def older_head(scene: Scene) -> SealedHead:
    """A sealed head from before anything was revoked."""
    sealed = scene.chronicle.moments["scope narrowed"].sealed_head
    assert sealed is not None
    assert sealed.position < revocation(scene).position
    return sealed


def rechain(scene: Scene, log: Sequence[LogEntry]) -> None:
    scene.attacker.put_log(rechained(scene.attacker.log_id(), log))


# -- the attacks


def cut_out_middle(scene: Scene) -> None:
    scene.attacker.delete_entries(revocation(scene).position)


def cut_off_last(scene: Scene) -> None:
    scene.attacker.delete_entries(len(entries(scene)))


def cut_off_tail(scene: Scene) -> None:
    scene.attacker.delete_entries(*range(revocation(scene).position, len(entries(scene)) + 1))


def cut_off_first(scene: Scene) -> None:
    scene.attacker.delete_entries(1, 2, 3)


def delete_all(scene: Scene) -> None:
    scene.attacker.put_log(())


def exchange_two(scene: Scene) -> None:
    """What two positions hold, each with the hash of its new place or of its old one."""
    first, second = revocation(scene), entry_of(scene, "key_suspended", "suspended")
    scene.attacker.put_entries(
        replace(first, position=second.position), replace(second, position=first.position)
    )


def exchange_contents(scene: Scene) -> None:
    first, second = revocation(scene), entry_of(scene, "key_suspended", "suspended")
    scene.attacker.put_entries(
        replace(first, position=second.position, hash=second.hash),
        replace(second, position=first.position, hash=first.hash),
    )


def reorder_and_rechain(scene: Scene) -> None:
    log = entries(scene)
    at = revocation(scene).position - 1
    log[at], log[at - 1] = log[at - 1], log[at]
    rechain(scene, log)


def edited(entry: bytes) -> bytes:
    return entry.replace(b'"actor":"library"', b'"actor":"nobody"')


def edit_entry(scene: Scene) -> None:
    old = revocation(scene)
    assert edited(old.entry) != old.entry
    scene.attacker.put_entries(replace(old, entry=edited(old.entry)))


def edit_and_rechain(scene: Scene) -> None:
    position = revocation(scene).position
    rechain(
        scene,
        [replace(e, entry=edited(e.entry)) if e.position == position else e for e in entries(scene)],
    )


def edit_last(scene: Scene) -> None:
    last = entries(scene)[-1]
    scene.attacker.put_entries(replace(last, entry=edited(last.entry)))


def edit_last_and_rechain(scene: Scene) -> None:
    *log, last = entries(scene)
    rechain(scene, [*log, replace(last, entry=edited(last.entry))])


def edit_hash(scene: Scene) -> None:
    old = revocation(scene)
    scene.attacker.put_entries(replace(old, hash=hashlib.sha256(old.hash).digest()))


def edit_last_hash(scene: Scene) -> None:
    last = entries(scene)[-1]
    scene.attacker.put_entries(replace(last, hash=hashlib.sha256(last.hash).digest()))


def edit_seal(scene: Scene) -> None:
    old = revocation(scene)
    scene.attacker.put_entries(replace(old, seal=old.seal[:-1] + bytes([old.seal[-1] ^ 1])))


def exchange_seals(scene: Scene) -> None:
    first, second = revocation(scene), entry_of(scene, "key_suspended", "suspended")
    scene.attacker.put_entries(replace(first, seal=second.seal), replace(second, seal=first.seal))


def edit_details(scene: Scene) -> None:
    old = revocation(scene)
    assert old.details is not None
    changed = {**json.loads(old.details), "note": "this never happened"}
    scene.attacker.put_entries(
        replace(old, details=json.dumps(changed, sort_keys=True, separators=(",", ":")))
    )


def add_details(scene: Scene) -> None:
    old = entry_of(scene, "key_created", "plain")
    assert old.details is None
    scene.attacker.put_entries(replace(old, details='{"note":"by me"}'))


def give_details_away(scene: Scene) -> None:
    other = entry_of(scene, "key_revoked", "compromised")
    scene.attacker.put_entries(replace(other, details=revocation(scene).details))


def append_again(scene: Scene) -> None:
    rechain(scene, [*entries(scene), revocation(scene)])


def append_again_unchained(scene: Scene) -> None:
    scene.attacker.put_entries(replace(revocation(scene), position=len(entries(scene)) + 1))


def append_creation_again(scene: Scene) -> None:
    rechain(scene, [*entries(scene), entry_of(scene, "key_created", "plain")])


def append_creation_again_unchained(scene: Scene) -> None:
    created = entry_of(scene, "key_created", "plain")
    scene.attacker.put_entries(replace(created, position=len(entries(scene)) + 1))


def forgery(scene: Scene) -> bytes:
    """An entry that says that the revoked key was never revoked."""
    rows = [[scene.key_id("revoked"), 3, json.loads(revocation(scene).entry)["rows"][0][2]]]
    forged = {**json.loads(revocation(scene).entry), "type": "key_updated", "rows": rows}
    return json.dumps(forged, sort_keys=True, separators=(",", ":")).encode()


def append_forged(scene: Scene) -> None:
    rechain(scene, [*entries(scene), replace(revocation(scene), entry=forgery(scene), seal=b"")])


def append_forged_with_a_seal(scene: Scene) -> None:
    rechain(scene, [*entries(scene), replace(revocation(scene), entry=forgery(scene))])


def append_forged_unchained(scene: Scene) -> None:
    last = entries(scene)[-1]
    scene.attacker.put_entries(replace(last, position=last.position + 1, entry=forgery(scene), seal=b""))


def append_garbage(scene: Scene) -> None:
    rechain(scene, [*entries(scene), replace(revocation(scene), entry=b"\xff\x00", seal=b"")])


def append_after_a_gap(scene: Scene) -> None:
    created = entry_of(scene, "key_created", "plain")
    *_, last = rechained(scene.attacker.log_id(), [*entries(scene), created])
    scene.attacker.put_entries(replace(last, position=last.position + 1))


def cut_out_and_rechain(scene: Scene) -> None:
    rechain(scene, [e for e in entries(scene) if e != revocation(scene)])


def remove_head(scene: Scene) -> None:
    scene.attacker.set_sealed_head(None)


def remove_head_and_last(scene: Scene) -> None:
    remove_head(scene)
    cut_off_last(scene)


def roll_head_back(scene: Scene) -> None:
    scene.attacker.set_sealed_head(older_head(scene))


def remove_head_and_all(scene: Scene) -> None:
    remove_head(scene)
    delete_all(scene)


def edit_head(**parts: Callable[[SealedHead], object]) -> Callable[[Scene], None]:
    def attack(scene: Scene) -> None:
        sealed = sealed_head(scene)
        changed = {name: make(sealed) for name, make in parts.items()}
        scene.attacker.set_sealed_head(replace(sealed, **changed))  # type: ignore[arg-type]

    return attack


def give_older_head_todays_position(scene: Scene) -> None:
    scene.attacker.set_sealed_head(replace(older_head(scene), position=sealed_head(scene).position))


@dataclass(frozen=True, slots=True)
class Attack:
    """What is done, and what follows for a node that is started then, or was running.

    `trail` is what an audit trail that can be read then has to do: show the `whole` truth, or `refuse`.
    """

    do: Callable[[Scene], None]
    stopped: str
    running: str
    trail: str = "refuse"


ATTACKS: Final[Mapping[str, Attack]] = {
    "an entry cut out": Attack(cut_out_middle, CLOSES, HONEST),
    "the last entry cut off": Attack(cut_off_last, CLOSES, CLOSES),
    "the tail cut off": Attack(cut_off_tail, CLOSES, CLOSES),
    "the beginning cut off": Attack(cut_off_first, CLOSES, HONEST),
    "the whole log deleted": Attack(delete_all, CLOSES, CLOSES),
    "two entries exchanged": Attack(exchange_two, CLOSES, HONEST),
    "two entries' contents exchanged": Attack(exchange_contents, CLOSES, HONEST),
    "two entries reordered and all chained anew": Attack(reorder_and_rechain, CLOSES, CLOSES),
    "an entry edited": Attack(edit_entry, CLOSES, HONEST),
    "an entry edited and all chained anew": Attack(edit_and_rechain, CLOSES, CLOSES),
    "the last entry edited": Attack(edit_last, CLOSES, HONEST),
    "the last entry edited and chained anew": Attack(edit_last_and_rechain, CLOSES, CLOSES),
    "a hash edited": Attack(edit_hash, CLOSES, HONEST, trail="either"),
    "the last hash edited": Attack(edit_last_hash, CLOSES, CLOSES, trail="either"),
    "a seal edited": Attack(edit_seal, HONEST, HONEST),
    "two seals exchanged": Attack(exchange_seals, HONEST, HONEST),
    "details edited": Attack(edit_details, HONEST, HONEST),
    "details added": Attack(add_details, HONEST, HONEST),
    "details given to another entry": Attack(give_details_away, HONEST, HONEST),
    "an older entry appended again": Attack(append_again, CLOSES, CLOSES),
    "an older entry appended again with its hash": Attack(append_again_unchained, CLOSES, CLOSES),
    "a creation appended again with its hash": Attack(append_creation_again_unchained, CLOSES, CLOSES),
    "a forged entry appended without a seal": Attack(append_forged, CLOSES, CLOSES),
    "a forged entry appended with another's seal": Attack(append_forged_with_a_seal, CLOSES, CLOSES),
    "a forged entry appended unchained": Attack(append_forged_unchained, CLOSES, CLOSES),
    "garbage appended": Attack(append_garbage, CLOSES, CLOSES),
    "an entry appended after a gap": Attack(append_after_a_gap, CLOSES, CLOSES),
    "an entry cut out and all chained anew": Attack(cut_out_and_rechain, CLOSES, CLOSES),
    "the sealed head removed": Attack(remove_head, CLOSES, HONEST, trail="whole"),
    "the sealed head and the last entry removed": Attack(remove_head_and_last, CLOSES, CLOSES),
    "the sealed head and the whole log removed": Attack(remove_head_and_all, CLOSES, CLOSES),
    "the sealed head rolled back": Attack(roll_head_back, HONEST, HONEST, trail="whole"),
    "the sealed head's hash edited": Attack(
        edit_head(hash=lambda sealed: hashlib.sha256(sealed.hash).digest()), CLOSES, HONEST, trail="whole"
    ),
    "the sealed head's seal edited": Attack(
        edit_head(seal=lambda sealed: sealed.seal[:-1] + bytes([sealed.seal[-1] ^ 1])),
        CLOSES,
        HONEST,
        trail="whole",
    ),
    "the sealed head's seal removed": Attack(edit_head(seal=lambda _: b""), CLOSES, HONEST, trail="whole"),
    "the sealed head one further": Attack(
        edit_head(position=lambda sealed: sealed.position + 1), CLOSES, HONEST, trail="whole"
    ),
    "the sealed head one back": Attack(
        edit_head(position=lambda sealed: sealed.position - 1), CLOSES, HONEST, trail="whole"
    ),
    "the sealed head at nothing": Attack(edit_head(position=lambda _: 0), CLOSES, HONEST, trail="whole"),
    "the sealed head far away": Attack(edit_head(position=lambda _: 2**62), CLOSES, HONEST, trail="whole"),
    "the sealed head before the log": Attack(edit_head(position=lambda _: -1), CLOSES, HONEST, trail="whole"),
    "an older sealed head at today's position": Attack(
        give_older_head_todays_position, CLOSES, HONEST, trail="whole"
    ),
}


each_attack: Final = pytest.mark.parametrize("name", ATTACKS)
