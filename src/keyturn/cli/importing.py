"""`keyturn import`: tokens that another system has issued, from a file."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, cast

import typer
from rich.console import Console
from rich.status import Status

from keyturn.cli import options, output
from keyturn.cli.failures import MisuseError
from keyturn.cli.import_lines import Line, batches, read_lines
from keyturn.cli.opening import Work, opened
from keyturn.crypto.foreign_tokens import handle_of
from keyturn.crypto.hash_forms import read_salt
from keyturn.domain import ids
from keyturn.domain.bodies import key_from
from keyturn.domain.foreign import ImportedToken
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.instants import parse_rfc3339
from keyturn.domain.key import Key, KeyType
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.spec import KeySpec
from keyturn.errors import ConflictError, InvalidInputError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_policy import KeyPolicy, spec_of

REFUSED: Final = 1
_HOW: Final = frozenset(("algorithm", "salt_position", "start"))


def import_(
    *,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="JSON Lines, or CSV with names in its first line; - for standard input."
        ),
    ],
    dry_run: Annotated[bool, options.switch("--dry-run", "Check everything, and store nothing.")] = False,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Take over tokens that another system has issued: as they are, or as the hashes that it has kept.

    Each line has a token, or a hash with its algorithm, and what its key shall be. Lines are stored 1,000 at a time,
    all of them or none, and each that is refused is named. What is there already is left as it is, so that it can be
    run again after a mistake or an interruption. See docs/importing.md.
    """
    with _stream(file) as stream, opened(tenant) as work:
        run = _Import(work, is_dry=dry_run, as_json=as_json)
        with _progress(as_json=as_json) as status:
            for batch in batches(read_lines(stream)):
                run.take(batch)
                if status is not None:
                    status.update(f"Line {batch[-1].number:,}")
        run.tell()
    if run.counts["refused"] or run.counts["held_back"]:
        raise typer.Exit(REFUSED)


class _RefusedLineError(Exception):
    """A line whose token is not imported."""


class _Import:
    """One run over a file.

    Attributes:
        counts: lines that were `imported`, were `present` already, were `refused`, or are `held_back` since another one
            that would have been stored with them was refused.
    """

    def __init__(self, work: Work, *, is_dry: bool, as_json: bool) -> None:
        self._work = work
        self._is_dry = is_dry
        self._as_json = as_json
        self._generator = SecureKeyGenerator(clock=work.node.clock)
        self.counts: Counter[str] = Counter(imported=0, present=0, refused=0, held_back=0)

    def take(self, batch: list[Line]) -> None:
        """Store what a batch says, unless one of its lines is refused."""
        for is_last in (False, True):
            new, present, refused = self._sorted(batch)
            if not refused and new and not self._is_dry:
                try:
                    self._work.node.issuer.issue_all(new, self._work.by)
                except ConflictError:
                    # Somebody else has imported one of them, or revoked an owner, in this moment.
                    if is_last:
                        raise
                    continue
            break
        for line, problem in refused:
            self._refuse(line, problem)
        self.counts.update(
            imported=0 if refused else len(new),
            held_back=len(new) if refused else 0,
            present=present,
            refused=len(refused),
        )

    def _sorted(self, batch: list[Line]) -> tuple[list[ImportedToken], int, list[tuple[Line, str]]]:
        """What is to be stored, how many are there already, and what is refused."""
        read: list[tuple[Line, ImportedToken]] = []
        refused: list[tuple[Line, str]] = []
        for line in batch:
            try:
                read.append((line, self._imported(line)))
            except _RefusedLineError as refusal:
                refused.append((line, str(refusal)))
        owners = self._owners_of([imported for _, imported in read])
        new: list[ImportedToken] = []
        present = 0
        for line, imported in read:
            handle = handle_of(self._work.node.records.keyring, imported)
            owner = owners.get(imported.key_id, owners.get(handle, _NOBODY))
            if owner == (self._work.by.tenant, imported.spec.owner):
                present += 1
            elif owner is not _NOBODY:
                refused.append((line, "the token, or one with the same start, is there under another owner"))
            else:
                owners[handle] = (self._work.by.tenant, imported.spec.owner)
                new.append(imported)
        return new, present, sorted(refused, key=lambda each: each[0].number)

    def _owners_of(self, read: list[ImportedToken]) -> dict[str, tuple[str, str | None]]:
        """Tenant and owner of what is there already, by key_id and by handle."""
        node = self._work.node
        found: dict[str, tuple[str, str | None]] = {}
        handles = [handle_of(node.records.keyring, imported) for imported in read]
        for rows in node.records.read_credentials(handles):
            key = key_from(node.records.open_sealed(rows.key).body)
            found[node.records.open_sealed(rows.version).body["credential_id"]] = _holder(key)
        for opened_row in node.records.get_many([imported.key_id for imported in read]):
            if opened_row is not None:
                key = key_from(opened_row.body)
                found[key.key_id] = _holder(key)
        return found

    def _imported(self, line: Line) -> ImportedToken:
        """A line's token, under a key_id that the same line will have again."""
        if line.problem:
            raise _RefusedLineError(line.problem)
        try:
            imported = _read(line.members, self._generator, self._work)
            self._work.node.issuer.require_new((imported,))
        except (InvalidInputError, ConflictError, TypeError) as error:
            raise _RefusedLineError(_said(error)) from None
        kept = imported.hash.reveal_bytes()
        known = kept.decode() if imported.start is not None else kept.hex()
        name = self._work.node.records.keyring.pseudonym(
            "imported-key", self._work.by.tenant, imported.hashed.value, known
        )
        return replace(imported, key_id=ids.build(ids.KEY, name))

    def _refuse(self, line: Line, problem: str) -> None:
        if self._as_json:
            output.note(json.dumps({"level": "error", "line": line.number, "detail": problem}))
        else:
            output.note(f"line {line.number}: {problem}")

    def tell(self) -> None:
        """The summary."""
        if self._as_json:
            output.write_json({"dry_run": self._is_dry, **self.counts})
            return
        verb = "Would import" if self._is_dry else "Imported"
        output.write(
            f"{verb} {_tokens(self.counts['imported'])}; {self.counts['present']:,} there already.\n"
        )
        if self.counts["refused"]:
            output.note(
                f"Refused: {self.counts['refused']:,}. Held back with them: {self.counts['held_back']:,}."
                " Mend the lines and run it again."
            )


_NOBODY: Final = ("", "")


def _holder(key: Key) -> tuple[str, str | None]:
    return key.tenant, key.owner


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"


def _read(members: dict[str, Any], generator: SecureKeyGenerator, work: Work) -> ImportedToken:
    """What the members of a line say; InvalidInputError, or TypeError for a value of another kind."""
    left = dict(members)
    token, text = left.pop("token", None), left.pop("hash", None)
    if (token is None) == (text is None):
        raise InvalidInputError(
            "a line has a token, or a hash of one", field="token", fix="Give one of them."
        )
    how = {name: left.pop(name) for name in _HOW & left.keys()}
    salt, encoding = left.pop("salt", None), left.pop("salt_encoding", "text")
    if token is not None and (how or salt is not None):
        raise InvalidInputError("that goes with a hash", field=min(how, default="salt"), fix="Leave it out.")
    spec = _spec(left, work)
    if token is not None:
        return generator.imported_token(spec, Secret(_text("token", token)))
    return generator.imported_hash(
        spec,
        _text("hash", text),
        **{"algorithm": "sha256", **how},
        salt=None if salt is None else read_salt(_text("salt", salt), encoding),
    )


def _spec(left: dict[str, Any], work: Work) -> KeySpec:
    times = {
        name: parse_rfc3339(_text(name, left.pop(name)))
        for name in ("not_before", "expires_at") & left.keys()
    }
    scope = left.pop("scope", KeyScope.READ.value)
    if scope not in [known.value for known in KeyScope]:
        raise InvalidInputError(
            "there is no such scope",
            field="scope",
            fix=f"Use one of: {', '.join(s.value for s in KeyScope)}.",
        )
    for name in ("permissions", "allowed_ips", "tags"):
        if not isinstance(left.get(name, []), list):
            raise InvalidInputError(f"{name} is a list", field=name, fix="Write it as a list of texts.")
    expires_in = left.pop("expires_in", None)
    policy = cast(KeyPolicy, {**left, **times})  # a line has no names but these: see NAMES
    now = work.node.clock.now()
    return spec_of(now, KeyType.API_TOKEN, KeyScope(scope), expires_in, policy, is_imported=True)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} is a text", field=name)
    return value


def _said(error: Exception) -> str:
    """What is wrong; errors repeat no value that may be a secret."""
    if not isinstance(error, InvalidInputError):
        return (
            str(error) if isinstance(error, ConflictError) else "a value is of another kind than it should be"
        )
    return f"{error.field}: {error}" if error.field and not str(error).startswith(error.field) else str(error)


@contextmanager
def _stream(file: str) -> Iterator[BinaryIO]:
    if file != "-":
        with Path(file).open("rb") as stream:
            yield stream
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise MisuseError(
            "there is nothing on standard input", fix="Name a file, or let one come: keyturn import - < FILE"
        )
    yield sys.stdin.buffer


@contextmanager
def _progress(*, as_json: bool) -> Iterator[Status | None]:
    """A line on standard error that says how far it has come, where that is a terminal."""
    console = Console(stderr=True)
    with console.status("Reading") if console.is_terminal and not as_json else nullcontext() as status:
        yield status
