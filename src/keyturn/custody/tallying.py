"""Which data keys the rows rest on: read from what seals and material name, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from keyturn.crypto.keyring import sealed_under
from keyturn.crypto.sealing import place_of
from keyturn.domain import canonical
from keyturn.domain.stored import read_as
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import Ledger, Row

BATCH: Final = 200  # rows a read and a write: their bodies have at most 65,536 bytes each
UNKNOWN: Final = 0  # in place of a version: the seal names none


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows by the oldest data key that each rests on, as far as they were read."""

    by_version: Mapping[int, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return sum(self.by_version.values())

    def before(self, version: int) -> int:
        """How many of them rest on a data key older than this one, or on none that is known."""
        return sum(count for under, count in self.by_version.items() if under < version)


def tallied(ledger: Ledger) -> Iterator[Tally]:
    """Tallies of more and more rows, the last one of all."""
    counts: Counter[int] = Counter()
    yield Tally()
    for rows in batches(ledger):
        counts.update(data_key_of(row) for row in rows)
        yield Tally(dict(counts))


def batches(ledger: Ledger) -> Iterator[list[Row]]:
    """All rows, some at a time, in the order of their ids."""
    after = ""
    while rows := ledger.list_rows(after, BATCH):
        yield rows
        after = rows[-1].id


def data_key_of(row: Row) -> int:
    """The older of the data keys that a row's seal and its sealed material name."""
    seal = sealed_under(row.seal) or UNKNOWN
    if row.material is None or not _has_sealed_material(row):
        return seal
    return min(seal, sealed_under(row.material) or UNKNOWN)


def _has_sealed_material(row: Row) -> bool:
    """Whether the body says so, which nobody has checked here."""
    try:
        with read_as("a row"):
            body = canonical.decode_sealed(row.body)
            return isinstance(body, dict) and place_of(body) is not None
    except IntegrityError:
        return False
