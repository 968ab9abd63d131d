"""Whoever may write to the store: everything in the database is theirs, the key-encryption key is not.

    attacker = attacker_on(store)
    before = attacker.image()                      # all that decisions rest on
    attacker.put_rows(older)                       # as it was, its seal included
    attacker.put_image(before)                     # and back

They connect on their own, with every right (the file itself; PostgreSQL's superuser), beside the nodes that are open.
Each attack is written once, against this interface. Rows and entries travel as the port's values, column by column.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any, ClassVar, Final

import psycopg

from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.domain.entry import chain_next, chain_start
from keyturn.ports.ledger import LogEntry, Row, SealedHead, Snapshot

_ROW: Final = "id, kind, tenant, revision, body, seal, material, created, position"
_ENTRY: Final = "position, entry, seal, hash, details"
_ALSO_GENERATED: Final = ("expires_at", "tags")
_INDEXED: Final = (
    "credential_id",
    "key_id",
    "owner",
    "owner_row",
    "type",
    "scope",
    "state",
    "prefix",
    "name",
)


@dataclass(frozen=True, slots=True)
class Image:
    """All that decisions rest on, as the tables hold it at one moment."""

    rows: Mapping[str, Row]
    log: tuple[LogEntry, ...]
    sealed_head: SealedHead | None
    snapshot: Snapshot | None


class Attacker(ABC):
    """Reads and writes the tables as they are; one method, one transaction."""

    tables: ClassVar[Mapping[str, str]]
    _index: Sequence[tuple[object, ...]] = ()

    # -- looking

    def rows(self) -> dict[str, Row]:
        """All rows by id."""
        return {row[0]: Row(*row) for row in self.run(f"SELECT {_ROW} FROM {{rows}} ORDER BY id")}

    def log(self) -> tuple[LogEntry, ...]:
        """All entries, in order."""
        return tuple(
            LogEntry(*found) for found in self.run(f"SELECT {_ENTRY} FROM {{log}} ORDER BY position")
        )

    def sealed_head(self) -> SealedHead | None:
        found = self.run("SELECT position, hash, seal FROM {sealed_head}")
        return SealedHead(*found[0]) if found else None

    def snapshot(self) -> Snapshot | None:
        found = self.run("SELECT position, hash, body, seal FROM {snapshot}")
        return Snapshot(*found[0]) if found else None

    def image(self) -> Image:
        return Image(self.rows(), self.log(), self.sealed_head(), self.snapshot())

    # -- writing

    def put_rows(self, *rows: Row) -> None:
        """Exactly these rows in place of those with the same ids."""
        with self.transaction():
            self._delete("rows", "id", [row.id for row in rows])
            self._insert("rows", _ROW, [astuple(row) for row in rows])

    def delete_rows(self, *ids: str) -> None:
        self._delete("rows", "id", ids)

    def set_body(self, row_id: str, body: bytes) -> None:
        """These bytes as the row's body, UTF-8 or not where the database lets them in."""
        self.run(f"UPDATE {{rows}} SET body = {self._text_of_bytes} WHERE id = ?", (body, row_id))

    def set_column(self, row_id: str, column: str, value: object) -> None:
        """One column of one row; index columns too, after `loosen`."""
        self.run(f"UPDATE {{rows}} SET {column} = ? WHERE id = ?", (value, row_id))

    def put_entries(self, *entries: LogEntry) -> None:
        """Exactly these entries in place of those at the same positions."""
        with self.transaction():
            self._delete("log", "position", [entry.position for entry in entries])
            self._insert("log", _ENTRY, [astuple(entry) for entry in entries])

    def delete_entries(self, *positions: int) -> None:
        self._delete("log", "position", positions)

    def put_log(self, log: Sequence[LogEntry]) -> None:
        """This log, and no other entry."""
        with self.transaction():
            there = set(self.log())
            self.delete_entries(*[entry.position for entry in there.difference(log)])
            self._insert("log", _ENTRY, [astuple(entry) for entry in log if entry not in there])

    def set_sealed_head(self, sealed: SealedHead | None) -> None:
        with self.transaction():
            self.run("DELETE FROM {sealed_head}")
            self._insert("sealed_head", "position, hash, seal", [] if sealed is None else [astuple(sealed)])

    def set_snapshot(self, snapshot: Snapshot | None) -> None:
        with self.transaction():
            self.run("DELETE FROM {snapshot}")
            self._insert(
                "snapshot", "position, hash, body, seal", [] if snapshot is None else [astuple(snapshot)]
            )

    def put_image(self, image: Image) -> None:
        """The whole store as it was, in one transaction."""
        with self.transaction():
            self.put_all_rows(image.rows)
            self.put_log(image.log)
            self.set_sealed_head(image.sealed_head)
            self.set_snapshot(image.snapshot)

    def put_all_rows(self, rows: Mapping[str, Row]) -> None:
        """These rows, and no other."""
        with self.transaction():
            there = set(self.rows().values())
            self.delete_rows(*[row.id for row in there.difference(rows.values())])
            self._insert("rows", _ROW, [astuple(row) for row in rows.values() if row not in there])

    def forget_uses(self) -> None:
        """Empty the counts, which nothing rests on."""
        with self.transaction():
            self.run("DELETE FROM {uses}")
            self.run("DELETE FROM {last_uses}")

    # -- the store itself

    @abstractmethod
    def log_id(self) -> str:
        """What the store says that its log is called."""

    @contextmanager
    def another_log_id(self, log_id: str) -> Iterator[None]:
        """Call the log something else for a while."""
        before = self.log_id()
        self._rename_log(log_id)
        try:
            yield
        finally:
            self._rename_log(before)

    def loosen(self) -> None:
        """Make the columns of the rows' table plain ones for good: no longer generated, required or unique."""
        self._index = self.run(f"SELECT {', '.join(_INDEXED)}, id FROM {{rows}}")
        self._loosen()

    def put_index_back(self) -> None:
        """Let the index columns say again what they said when the table was loosened."""
        columns = ", ".join(f"{column} = ?" for column in _INDEXED)
        with self.transaction():
            self.run_each(f"UPDATE {{rows}} SET {columns} WHERE id = ?", self._index)

    @abstractmethod
    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """For a while, whatever is written to rows and log vanishes, and the writer is told that all went well."""

    @abstractmethod
    def _rename_log(self, log_id: str) -> None: ...

    @abstractmethod
    def _loosen(self) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    def run(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What a statement returns. Tables are named as `{rows}`, values by `?`."""

    @abstractmethod
    def run_each(self, statement: str, records: Sequence[Sequence[object]]) -> None:
        """A statement once with each of these parameters."""

    @abstractmethod
    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is run inside, or nothing; those inside of others are part of them."""

    @property
    @abstractmethod
    def _text_of_bytes(self) -> str:
        """An expression that makes text of a parameter's bytes."""

    def _insert(self, table: str, columns: str, records: Sequence[Sequence[object]]) -> None:
        places = ", ".join("?" for _ in columns.split(", "))
        self.run_each(f"INSERT INTO {{{table}}} ({columns}) VALUES ({places})", records)

    def _delete(self, table: str, column: str, values: Sequence[object]) -> None:
        self.run_each(f"DELETE FROM {{{table}}} WHERE {column} = ?", [(value,) for value in values])


class FileAttacker(Attacker):
    """Writes to the file of an SQLite store."""

    tables: ClassVar = {
        "rows": "rows", "log": "log", "sealed_head": "sealed_head", "snapshot": "snapshot",
        "uses": "usage", "last_uses": "last_use",
    }  # fmt: skip
    _text_of_bytes = "CAST(? AS TEXT)"

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(parse_url(url), timeout=10, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        # What the attacker wrote need not be UTF-8, and is to be found and put right again.
        self._connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")

    def run(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.format(**self.tables), parameters).fetchall()

    def run_each(self, statement: str, records: Sequence[Sequence[object]]) -> None:
        self._connection.executemany(statement.format(**self.tables), records)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            yield

    def log_id(self) -> str:
        return str(self.run("SELECT value FROM meta WHERE key = 'log_id'")[0][0])

    def _rename_log(self, log_id: str) -> None:
        self.run("UPDATE meta SET value = ? WHERE key = 'log_id'", (log_id,))

    def _loosen(self) -> None:
        indexes = self.run(
            "SELECT replace(sql, 'UNIQUE INDEX', 'INDEX') FROM sqlite_schema"
            " WHERE type = 'index' AND tbl_name = 'rows' AND sql IS NOT NULL"
            # These look into bodies themselves, and would refuse one that is no JSON.
            " AND sql NOT LIKE '%json_extract(body%'"
        )
        with self.transaction():
            self.run(f"CREATE TABLE loose AS SELECT {_ROW}, {', '.join(_INDEXED)}, expires_at FROM rows")
            self.run("DROP TABLE rows")
            self.run("ALTER TABLE loose RENAME TO rows")
            for (index,) in indexes:
                self.run(index)

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        triggers = {"one": "INSERT ON rows", "two": "UPDATE ON rows", "three": "INSERT ON log"}
        for name, event in triggers.items():
            self.run(f"CREATE TRIGGER {name} BEFORE {event} BEGIN SELECT RAISE(IGNORE); END")
        try:
            yield
        finally:
            for name in triggers:
                self.run(f"DROP TRIGGER {name}")

    def close(self) -> None:
        self._connection.close()


class SuperuserAttacker(Attacker):
    """Writes to the schema of a PostgreSQL store as its superuser."""

    tables: ClassVar = {
        "rows": "keyturn.rows", "log": "keyturn.entries", "sealed_head": "keyturn.sealed_heads",
        "snapshot": "keyturn.snapshots", "uses": "keyturn.uses", "last_uses": "keyturn.last_uses",
    }  # fmt: skip
    _text_of_bytes = "convert_from(?, 'UTF8')"

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("SET synchronous_commit = off")

    def run(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(self._said(statement), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def run_each(self, statement: str, records: Sequence[Sequence[object]]) -> None:
        if records:
            self._connection.cursor().executemany(self._said(statement), records)

    def _said(self, statement: str) -> bytes:
        return statement.format(**self.tables).replace("?", "%s").encode()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connection.transaction():
            yield

    def log_id(self) -> str:
        return str(self.run("SELECT log_id FROM keyturn.log")[0][0])

    def _rename_log(self, log_id: str) -> None:
        self.run("UPDATE keyturn.log SET log_id = ?", (log_id,))

    def _loosen(self) -> None:
        required = [column for column in _ROW.split(", ") if column not in ("id", "material")]
        parts = [f"ALTER COLUMN {column} DROP NOT NULL" for column in required]
        parts += [f"ALTER COLUMN {column} DROP EXPRESSION" for column in (*_INDEXED, *_ALSO_GENERATED)]
        looking_into_bodies = self.run(
            "SELECT indexrelid::regclass::text FROM pg_index"
            " WHERE indrelid = 'keyturn.rows'::regclass AND pg_get_indexdef(indexrelid) LIKE '%document(body)%'"
        )
        with self.transaction():
            self.run(f"ALTER TABLE {{rows}} {', '.join(parts)}")
            for index in ("keyturn.rows_credential", *(name for (name,) in looking_into_bodies)):
                self.run(f"DROP INDEX {index}")

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        with self.transaction():
            self.run(
                "CREATE FUNCTION keyturn.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
            )
            for table, events in (("rows", "INSERT OR UPDATE"), ("log", "INSERT")):
                self.run(
                    f"CREATE TRIGGER swallow BEFORE {events} ON {{{table}}}"
                    " FOR EACH ROW EXECUTE FUNCTION keyturn.swallow()"
                )
        try:
            yield
        finally:
            self.run("DROP FUNCTION keyturn.swallow() CASCADE")

    def close(self) -> None:
        self._connection.close()


def attacker_on(url: str) -> Attacker:
    """An attacker on the store that a file's or a superuser's URL names."""
    return FileAttacker(url) if url.startswith("sqlite:") else SuperuserAttacker(url)


def rechained(log_id: str, entries: Sequence[LogEntry]) -> tuple[LogEntry, ...]:
    """These entries in this order from position 1, with the hashes that anyone can compute for them."""
    chain, log = chain_start(log_id), []
    for position, old in enumerate(entries, 1):
        chain = chain_next(chain, old.entry)
        log.append(LogEntry(position, old.entry, old.seal, chain, old.details))
    return tuple(log)
