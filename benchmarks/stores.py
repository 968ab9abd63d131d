"""The stores of one run: each is made when a part first asks for it, and gone when the run ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.filling import fill
from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise
from keyturn.domain.secret import Secret

KEK: Final = b"k" * 32


@dataclass(frozen=True, slots=True)
class Store:
    """A store in a file. `caller` is the token of a key that may do everything, `tokens` are those of all others."""

    path: Path
    caller: str
    tokens: list[str]

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"sqlite:///{self.path}"


class Stores:
    """Makes stores in a folder. Parts may add to one, and leave its keys as they are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[int, Store] = {}

    def of(self, count: int) -> Store:
        """The store with so many keys."""
        if count not in self._made:
            path = self._folder / f"{count}-keys.db"
            first = initialise(f"sqlite:///{path}", LocalKeyWrapper(Secret(KEK)), with_first_key=True)
            assert first is not None
            self._made[count] = Store(path, first.secret.reveal(), fill(f"sqlite:///{path}", KEK, count))
        return self._made[count]
