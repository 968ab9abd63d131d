"""Reading a file of tokens to import, in bounded memory: JSON Lines, or CSV under a line of names.

for line in read_lines(stream):
    line.number, line.members           # one token or hash, and what its key shall be; or line.problem

What a file says is never repeated in a problem: where its columns are shifted, anything may be a secret.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, BinaryIO, Final

from keyturn.domain.members import parse_unambiguous
from keyturn.errors import InvalidInputError

MAX_LINE_BYTES: Final = 65_536
BATCH_LINES: Final = 1_000
BATCH_BYTES: Final = 8_388_608

_LISTS: Final = frozenset(("permissions", "allowed_ips", "tags"))
NAMES: Final = frozenset((
    "token", "hash", "algorithm", "salt", "salt_encoding", "salt_position", "start", "name", "owner", "scope",
    "metadata", "not_before", "expires_at", "expires_in", "recoverable", *_LISTS,
))  # fmt: skip
_BOM: Final = b"\xef\xbb\xbf"
_FIX: Final = f"Use these names: {', '.join(sorted(NAMES))}."
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Line:
    """What stands on one line, or on the lines that begin there; `problem` where that cannot be read."""

    number: int
    size: int
    members: dict[str, Any] = field(default_factory=dict, repr=False)
    problem: str = ""


def read_lines(stream: BinaryIO) -> Iterator[Line]:
    """All lines that say something. InvalidInputError for a file that is none of this, at its first line."""
    lines = _bounded(stream)
    first = next(((number, raw) for number, raw in lines if raw.strip()), None)
    if first is None:
        return
    everything = chain([first], lines)
    yield from (_json_lines if first[1].lstrip().startswith(b"{") else _csv_lines)(everything)


def batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """As many together as are stored at once."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == BATCH_LINES or size + line.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += line.size
    if batch:
        yield batch


_Raw = Iterator[tuple[int, bytes]]


def _bounded(stream: BinaryIO) -> _Raw:
    """Lines by number; one that is too long is cut, to one byte more than is allowed."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        part = raw
        while len(part) > MAX_LINE_BYTES and not part.endswith(b"\n"):
            part = stream.readline(MAX_LINE_BYTES + 1)
        yield number, raw.removeprefix(_BOM) if number == 1 else raw


def _json_lines(lines: _Raw) -> Iterator[Line]:
    for number, raw in lines:
        if raw.strip():
            yield _line(number, raw, _json_members)


def _line(number: int, raw: bytes, read: Callable[[str], dict[str, Any]]) -> Line:
    if len(raw) > MAX_LINE_BYTES:
        return Line(number, 0, problem=f"the line has more than {MAX_LINE_BYTES:,} bytes")
    try:
        return Line(number, len(raw), read(raw.decode()))
    except UnicodeDecodeError:
        return Line(number, 0, problem="the line is not UTF-8")
    except ValueError as error:
        return Line(number, 0, problem=str(error))


def _json_members(text: str) -> dict[str, Any]:
    try:
        members = parse_unambiguous(text)
    except (ValueError, RecursionError):
        raise ValueError("the line is not JSON, or names something twice") from None
    if not isinstance(members, dict):
        raise ValueError("the line is no JSON object")  # noqa: TRY004 - of a text, not of a caller
    if not members.keys() <= NAMES:
        raise ValueError("the line has a name that is not known")
    return {name: value for name, value in members.items() if value is not None}


def _csv_lines(lines: _Raw) -> Iterator[Line]:
    _, head = next(lines)
    names = _header(head)
    for number, raw in lines:
        if raw.strip():
            yield _line(number, raw, lambda text: _csv_members(names, text))


def _header(raw: bytes) -> list[str]:
    try:
        names = [name.strip() for name in _cells(raw.decode())]
    except ValueError:
        names = []
    for place, name in enumerate(names, 1):
        if name not in NAMES or name in names[: place - 1]:
            raise InvalidInputError(
                f"line 1: column {place} has a name that is not known, or one that is there already", fix=_FIX
            )
    if not names:
        raise InvalidInputError("line 1: neither JSON nor the names of columns", fix=_FIX)
    return names


def _csv_members(names: list[str], text: str) -> dict[str, Any]:
    cells = _cells(text)
    if len(cells) != len(names):
        raise ValueError(f"the line has {len(cells)} columns, and the first one has {len(names)}")
    return {name: _value(name, cell) for name, cell in zip(names, cells, strict=True) if cell}


def _cells(text: str) -> list[str]:
    try:
        (cells,) = csv.reader([text.rstrip("\r\n")], strict=True)
    except (csv.Error, ValueError):
        raise ValueError("the line is not CSV") from None
    return cells


def _value(name: str, cell: str) -> Any:
    if name in _LISTS:
        return [part.strip() for part in cell.split(";") if part.strip()]
    if name == "metadata":
        try:
            return parse_unambiguous(cell)
        except (ValueError, RecursionError):
            raise ValueError("metadata is no JSON") from None
    if name == "expires_in":
        return int(cell) if cell.isascii() and cell.isdecimal() and len(cell) <= 10 else cell  # noqa: PLR2004
    return _BOOLEANS.get(cell, cell) if name == "recoverable" else cell
