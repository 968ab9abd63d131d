"""How answers look: tables and lists of fields for people, JSON for programs, and notes beside them.

Answers go to standard output. Where that is a terminal they have colours, and tables keep to its width; elsewhere they
are plain text, one line each. Ids and secrets are never broken.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from keyturn.domain.instants import rfc3339
from keyturn.domain.key import Key
from keyturn.domain.lifecycle import KeyState
from keyturn.views import View, key_view

NOTHING: Final = "-"
EXPIRED: Final = "expired"  # no state, but what people look for
_UNBOUNDED: Final = 100_000  # characters a line: more than anything that is shown
_ALL_COLUMNS: Final = 100  # characters that a table with all its columns takes
_FEWEST: Final = 76  # and one with the fewest: a terminal that is narrower breaks its lines
_STYLES: Final = {
    "active": "green",
    "valid": "green",
    "pre_active": "cyan",
    "suspended": "yellow",
    "expired": "yellow",
    "deactivated": "red",
    "compromised": "bold red",
    "destroyed": "dim",
}


def write(text: str) -> None:
    """Write to standard output, at once; OSError where nobody takes it."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_text(text: Text) -> None:
    """A line or more with styles, which a terminal shows and nobody else sees."""
    write(_rendered(text, _UNBOUNDED))


def note(text: str) -> None:
    """Say something beside the answer, on standard error. An answer does not fail because nobody reads its notes."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def write_json(document: View) -> None:
    """One JSON document."""
    write(json.dumps(document, indent=2) + "\n")


def write_json_list(pages: Iterable[tuple[Sequence[View], str | None]]) -> None:
    """One JSON document of items and the cursor after them, written as they come: one item a line."""
    opening, separator, cursor = '{"items": [', "\n", None
    for items, next_cursor in pages:
        lines = [json.dumps(item) for item in items]
        write(opening + (separator + ",\n".join(lines) if lines else ""))
        opening, separator, cursor = "", ",\n" if lines else separator, next_cursor
    write(f'\n], "next_cursor": {json.dumps(cursor)}}}\n')


def write_fields(fields: View) -> None:
    """Names and values, one a line."""
    width = max(map(len, fields), default=0)
    lines = Text()
    for name, value in fields.items():
        shown = text_of(value)
        # Not a table: it would fill each line up to the longest one, and break long ones where they are copied from.
        lines.append(name, "bold").append(" " * (width + 2 - len(name))).append(
            f"{shown}\n", _STYLES.get(shown, "")
        )
    lines.rstrip()
    write(_rendered(lines, _UNBOUNDED))


def write_view(view: View, *, as_json: bool) -> None:
    """A view as JSON for programs, or as its fields for people."""
    if as_json:
        write_json(view)
    else:
        write_fields(view)


class _Column(NamedTuple):
    title: str
    width: int  # at least
    is_wide: bool = False  # left out of a narrow terminal


_COLUMNS: Final = (
    _Column("KEY_ID", 26),
    _Column("STATE", 11),
    _Column("TYPE", 12, is_wide=True),
    _Column("SCOPE", 10, is_wide=True),
    _Column("EXPIRES", 10),
    _Column("OWNER", 8),
    _Column("NAME", 8),
)


def write_keys(keys: Sequence[Key], now: datetime, *, with_header: bool) -> None:
    """A table of keys, one a line."""
    is_terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns if is_terminal else _UNBOUNDED
    shown = [column for column in _COLUMNS if columns >= _ALL_COLUMNS or not column.is_wide]
    table = Table(
        box=None, show_header=with_header, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0)
    )
    for column in shown:
        grows = column.title in ("OWNER", "NAME")
        table.add_column(
            column.title, min_width=column.width, no_wrap=not grows or not is_terminal, overflow="fold"
        )
    for key in keys:
        cells = _cells(key, now)
        table.add_row(*(cells[column.title] for column in shown))
    write(_rendered(table, max(columns, _FEWEST)))


def _cells(key: Key, now: datetime) -> dict[str, Text]:
    state = EXPIRED if has_expired(key, now) else key.state.value
    return {
        "KEY_ID": Text(key.key_id),
        "STATE": Text(state, style=_STYLES[state]),
        "TYPE": Text(key.type.value),
        "SCOPE": Text(key.scope.value),
        "EXPIRES": Text(NOTHING if key.expires_at is None else rfc3339(key.expires_at)[:10]),
        "OWNER": Text(text_of(key.owner)),
        "NAME": Text(text_of(key.name)),
    }


def key_fields(key: Key, now: datetime) -> View:
    """A key's fields for people: as in JSON, and whether it has expired."""
    fields = key_view(key)
    if has_expired(key, now):
        fields["state"] += f" ({EXPIRED})"
    return fields


def has_expired(key: Key, now: datetime) -> bool:
    """Whether expiry is what ends the key, recorded or not; a key that was revoked before is not said to expire."""
    return key.has_run_out or (key.state is KeyState.ACTIVE and key.is_expired(now))


def write_counts(title: str, counts: Iterable[tuple[str, int]]) -> None:
    """A table of counts."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title)
    table.add_column("COUNT", justify="right")
    for name, count in counts:
        table.add_row(Text(printable(name)), Text(str(count)))
    write(_rendered(table, _UNBOUNDED))


def text_of(value: Any) -> str:
    """A JSON value as people read it, on one line."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case list():
            return printable(", ".join(str(item) for item in value)) or NOTHING
        case dict():
            return printable(json.dumps(value, ensure_ascii=False)) if value else NOTHING
        case _:
            return printable(str(value))


def printable(text: str) -> str:
    """The text with what would move the cursor, hide or reorder other text written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1]
        for character in text
    )


def _rendered(shown: RenderableType, width: int) -> str:
    """The text that a console of this width would get, without spaces at the ends of lines."""
    console = Console(
        file=sys.stdout,
        width=width,
        force_terminal=sys.stdout.isatty(),
        highlight=False,
        markup=False,
        emoji=False,
    )
    with console.capture() as captured:
        console.print(shown)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
