"""Loading tokens that were issued elsewhere: found by what is known of them, compared, and upgraded.

A keyed digest is compared at once. A salted or password hash has to be computed (`compute`), which takes up to some
seconds of a thread; once it has matched, a keyed digest takes its place, and the next look-up is like any other.
"""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from keyturn.crypto.digests import token_digest
from keyturn.crypto.foreign_tokens import handle_of_digest, handles_of, keyed_digest, plain_digest
from keyturn.crypto.sealing import associated_data, open_material
from keyturn.crypto.slow_hashes import decode
from keyturn.domain.bodies import version_put
from keyturn.domain.change import ChangeSet, Event, EventType, Require
from keyturn.domain.key import HANDLE_MARK, Hashed, Version
from keyturn.domain.principal import SYSTEM_ACTOR
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError, KeyturnError
from keyturn.ports.clock import Clock
from keyturn.ports.passing import in_passing
from keyturn.records.records import Records, Settling
from keyturn.verifier.cache import Cache
from keyturn.verifier.entries import Entry
from keyturn.verifier.loading import Found, Loaded, Loader, Parts, parts_of

_STRIPES: Final = 64  # credentials share these; two that share one wait for each other's computation
_log = logging.getLogger("keyturn.imports")


class Imports:
    """Whether the store has tokens that were issued elsewhere, as far as this process knows."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._moves = 0
        self._absent_at = -1
        self._are_there = False
        records.log.listen(self._changed)

    @property
    def known(self) -> bool | None:
        """Whether there are any: True for good, False as far as the log has been read, None when it is to be asked."""
        if self._are_there:
            return True
        return False if self._absent_at == self._moves else None

    def ask(self) -> bool:
        """Whether there are any, asking the store where it is not known: a glance at an index, but not in memory."""
        moves = self._moves
        if self.known is None:
            if self._records.has_credential_from(HANDLE_MARK):
                self._are_there = True
            else:
                self._absent_at = moves
        return self._are_there

    def _changed(self, row_ids: Sequence[str] | None) -> None:
        # Only with a version comes a token, and the id of a version's row has a dot.
        if row_ids is None or any("." in row_id for row_id in row_ids):
            self._moves += 1


class Uncomputed(NamedTuple):
    """There is a hash that could be the token's: only its computation tells."""

    handle: str


class _Presented:
    """A token that was presented, and which hashes it has been found to match."""

    def __init__(self, records: Records, token: str) -> None:
        self._records = records
        self.token = token
        self.handles = handles_of(records.keyring, token)
        self._proven: set[bytes] = set()

    def has_digest_of(self, version: Version) -> bool:
        """Whether a version keeps this token's digest."""
        if version.hashed is None or version.digest is None or not version.hashed.is_keyed:
            return False
        plain = plain_digest(version.hashed, self.token)
        return hmac.compare_digest(keyed_digest(self._records.keyring, version.hashed, plain), version.digest)

    def is_proven(self, version: Version) -> bool:
        """Whether a version's hash was computed before, and was this token's."""
        return version.hashed is Hashed.SEALED and version.material in self._proven

    def prove(self, version: Version) -> bool:
        """Compute a version's hash; whether it is this token's."""
        if version.material is None:
            return False
        slow, start = decode(self._opened(version, version.material))
        is_match = self.token.startswith(start) and slow.matches(Secret(self.token))
        if is_match:
            self._proven.add(version.material)
        return is_match

    def _opened(self, version: Version, material: bytes) -> str:
        place = associated_data(version.tenant, version.key_id, version.number, version.type)
        try:
            return open_material(self._records.keyring, material, place).reveal()
        except IntegrityError as error:
            raise self._records.refuse(version.row_id, version.tenant, str(error)) from None


class _Match(NamedTuple):
    parts: Parts
    found: Found


class ForeignLoader:
    """Loads what is looked up by the token itself."""

    def __init__(self, *, records: Records, cache: Cache, loader: Loader, clock: Clock) -> None:
        self._records = records
        self._log = records.log
        self._cache = cache
        self._loader = loader
        self._clock = clock
        self.start_afresh()

    def start_afresh(self) -> None:
        """Go on with locks that nobody holds, in a forked child."""
        self._turns = tuple(threading.Lock() for _ in range(_STRIPES))

    def load(self, token: str) -> Loaded | Uncomputed:
        """Read a token that was issued elsewhere; Uncomputed where that takes `compute`."""
        return self._load(_Presented(self._records, token), may_compute=False)

    def compute(self, token: str, uncomputed: Uncomputed) -> Loaded:
        """The same, computing what has to be: for one caller at a time with each credential."""
        with self._turns[hash(uncomputed.handle) % _STRIPES]:
            loaded = self._load(_Presented(self._records, token), may_compute=True)
        assert isinstance(loaded, Loaded)
        return loaded

    def _load(self, presented: _Presented, *, may_compute: bool) -> Loaded | Uncomputed:
        settling = Settling(self._records)
        may_upgrade = True
        while True:
            as_of, read_at = self._log.as_of, self._log.read_at
            match = self._match(presented, may_compute=may_compute)
            if match is None:
                return Loaded(None, as_of, read_at)
            if isinstance(match, Uncomputed):
                return match
            with self._log.applying:
                # As in Loader.load: the log can't move on between this check and the fill.
                is_current = self._loader.are_current(match.found)
                if is_current:
                    entry = self._entry_of(presented, match.parts)
                    if not (may_upgrade and self._is_due(match.parts.version, entry)):
                        self._cache.put(entry)
                        return Loaded(entry, self._log.as_of, self._log.read_at)
            if is_current:
                may_upgrade = False
                self._upgrade(presented, match.parts)  # and read it again, whatever became of that
            else:
                settling.settle(match.found)

    def _match(self, presented: _Presented, *, may_compute: bool) -> _Match | Uncomputed | None:
        """The credential that is this token's, if there is one; what can be compared at once goes first."""
        uncomputed: list[_Match] = []
        for match in self._candidates(presented):
            version = match.parts.version
            if presented.has_digest_of(version) or presented.is_proven(version):
                return match
            if version.hashed is Hashed.SEALED and version.material is not None:
                uncomputed.append(match)
        if uncomputed and not may_compute:
            return Uncomputed(str(uncomputed[0].parts.version.credential_id))
        return next((match for match in uncomputed if presented.prove(match.parts.version)), None)

    def _candidates(self, presented: _Presented) -> list[_Match]:
        """What may be this token's, in the order of its handles: those of digests come first."""
        matches = []
        for rows in self._records.read_credentials(presented.handles):
            found = self._loader.opened(presented.handles, rows)
            matches.append(_Match(parts_of(rows, found), found))
        return sorted(
            matches, key=lambda match: presented.handles.index(match.parts.version.credential_id or "")
        )

    def _entry_of(self, presented: _Presented, parts: Parts) -> Entry:
        """In memory it is found by the token's SHA-256, as all are."""
        known = parts.version
        return self._loader.entry_of(
            parts._replace(version=replace(known, digest=token_digest(presented.token)))
        )

    def _is_due(self, version: Version, entry: Entry) -> bool:
        """Whether a version is to be upgraded: it was computed, and is good at present."""
        is_good = entry.refusal is None and entry.begins <= self._clock.nanos() < entry.ends
        return version.hashed is Hashed.SEALED and is_good

    def _upgrade(self, presented: _Presented, parts: Parts) -> None:
        """Keep the keyed digest in place of the hash; if that fails, the hash stays, and the answer is the same."""
        version, key, owner = parts
        plain = plain_digest(Hashed.KEYED_SHA256, presented.token)
        keyring = self._records.keyring
        upgraded = replace(
            version,
            revision=version.revision + 1,
            credential_id=handle_of_digest(keyring, Hashed.KEYED_SHA256, plain),
            digest=keyed_digest(keyring, Hashed.KEYED_SHA256, plain),
            hashed=Hashed.KEYED_SHA256,
            custody=None,
            material=None,
        )
        # Whoever revokes the key or its owner meanwhile is first.
        requires = [Require(key.row_id, key.revision)]
        if key.owner_row is not None:
            requires.append(Require(key.owner_row, 0 if owner is None else owner.revision))
        event = Event(
            type=EventType.TOKEN_UPGRADED,
            time=self._clock.now(),
            tenant=key.tenant,
            actor=SYSTEM_ACTOR,
            subjects=(key.key_id,),
            rows=(version.row_id,),
        )
        changes = ChangeSet(requires=tuple(requires), puts=(version_put(upgraded),), events=(event,))
        try:
            with in_passing():
                self._records.commit(changes)
        except KeyturnError as error:
            _log.warning("%s is kept as it was imported for now: %s", version.row_id, error)
