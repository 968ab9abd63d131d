"""`keyturn rekey`: another key-encryption key, another data key, and what follows from it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.cli import options, output
from keyturn.cli.failures import MisuseError
from keyturn.cli.opening import Work, has_key_file, opened
from keyturn.custody.resealing import Progress
from keyturn.custody.tallying import UNKNOWN, Tally, tallied
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.secret import Secret
from keyturn.errors import shown
from keyturn.key_file import KeyFile

REFUSED: Final = 1
DEFAULT_RATE: Final = 2_000  # rows a second: a small part of what a store can do
MAX_SETTING_BYTES: Final = 4_096

Advance = Callable[[int], None]


def rekey(
    context: typer.Context,
    *,
    new_kek_from_env: Annotated[
        str | None,
        options.text(
            "--new-kek-from-env", "NAME", "Read the new key-encryption key from this variable instead."
        ),
    ] = None,
    data_key: Annotated[
        bool, options.switch("--data-key", "Add a data key instead, and seal every row anew under it.")
    ] = False,
    reseal: Annotated[
        bool, options.switch("--reseal", "Go on with sealing rows anew, after it was interrupted.")
    ] = False,
    retire: Annotated[
        bool, options.switch("--retire", "Accept rows under the newest data key only, if none is left.")
    ] = False,
    status: Annotated[
        bool, options.switch("--status", "Show the data keys, and how many rows are under each.")
    ] = False,
    rate: Annotated[
        int,
        options.text("--rate", "ROWS", "How many rows a second to seal anew, at most.", min=1),
    ] = DEFAULT_RATE,
    as_json: options.AsJson = False,
) -> None:
    """Change the key-encryption key, or the data keys under it. Keys that were issued stay as they are.

    The new key-encryption key is the first line of standard input, in a form of KEY_STORE_ENCRYPTION_KEY; at a terminal
    it is asked for, and not shown. Servers that are running go on; whatever starts from now on needs the new one.

    All of it is safe beside running servers, and can be stopped at any moment. See docs/key-change.md.
    """
    if context.args:
        raise _kek_in_arguments()
    acts = {_data_key: data_key, _reseal: reseal, _retire: retire, _status: status}
    chosen = [act for act, is_chosen in acts.items() if is_chosen]
    if len(chosen) > 1 or (chosen and new_kek_from_env is not None):
        raise MisuseError("one thing is changed at a time", fix="Give one of these options, then the next.")
    if not chosen:
        _change_kek(_new_kek(new_kek_from_env), as_json=as_json)
        return
    with opened(DEFAULT_TENANT) as work:
        chosen[0](work, rate, as_json)


def _kek_in_arguments() -> MisuseError:
    return MisuseError(
        "a key-encryption key is never an argument: it would stay in the shell's history and be seen in the list of"
        " processes",
        fix="Let it come from standard input, as in 'keyturn rekey < new-key.txt', and use another one than was typed.",
    )


def _new_kek(variable: str | None) -> Secret:
    """The new KEK's setting; MisuseError where there is none, or one that is too long."""
    if variable is not None:
        text = os.environ.get(variable, "")
        if not text:
            raise MisuseError(
                f"the variable {shown(variable)} is not set", fix="Export it, and run this again."
            )
    elif sys.stdin is None:
        text = ""
    elif sys.stdin.isatty():
        text = getpass("New key-encryption key: ")
        if text != getpass("The same again: "):
            raise MisuseError("the two were not the same", fix="Type it again, or let it come from a file.")
    else:
        raw = sys.stdin.buffer.readline(MAX_SETTING_BYTES + 1)
        if len(raw) > MAX_SETTING_BYTES:
            raise MisuseError("that is too long for a key-encryption key", fix="Give it alone, on one line.")
        text = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
    if not text.strip():
        raise MisuseError(
            "there is no new key-encryption key",
            fix="Let it come from standard input: keyturn rekey < new-key.txt",
        )
    if text != text.strip():
        # As KEY_STORE_ENCRYPTION_KEY it would count: a passphrase with a space at its end is another one.
        raise MisuseError(
            "the new key-encryption key begins or ends with white space", fix="Give it without."
        )
    return Secret(text.encode("utf-8", "surrogateescape"))


def _change_kek(setting: Secret, *, as_json: bool) -> None:
    LocalKeyWrapper.from_setting(setting)  # before anything is opened
    with opened(DEFAULT_TENANT) as work:

        def change() -> None:
            work.node.keyring_changes.change_kek(lambda: LocalKeyWrapper.from_setting(setting), work.by)

        kept: Path | None = None
        in_file = has_key_file(work.settings)
        if in_file:
            with KeyFile(work.settings.kek_file).replacement(setting) as replacement:
                change()
                kept = replacement.settle()
        else:
            change()
        _say_changed(work, kept, in_file=in_file, as_json=as_json)


def _say_changed(work: Work, kept: Path | None, *, in_file: bool, as_json: bool) -> None:
    if as_json:
        file = str(work.settings.kek_file) if in_file else None
        revision = work.node.records.keyring.revision
        output.write_json(
            {
                "changed": "kek",
                "revision": revision,
                "key_file": file,
                "old_key_file": None if kept is None else str(kept),
            }
        )
        return
    output.write("The store's data keys are under the new key-encryption key.\n")
    if in_file:
        output.write(f"It is in {work.settings.kek_file}\n")
        output.write("" if kept is None else f"The old one is kept in {kept}\n")
    else:
        output.note(
            "Set KEY_STORE_ENCRYPTION_KEY to it wherever Keyturn is started. What is running goes on."
        )
    output.note("Backups made so far can be opened with the old key-encryption key only.")


def _data_key(work: Work, rate: int, as_json: bool) -> None:
    version = work.node.keyring_changes.add_data_key(work.by)
    if not as_json:
        output.write(f"Data key {version} seals what is written from now on.\n")
    _reseal(work, rate, as_json)


def _reseal(work: Work, rate: int, as_json: bool) -> None:
    done = Progress()
    with _bar(work, "Sealing rows anew", as_json=as_json) as advance:
        began = time.monotonic()
        for done in work.node.resealer.run(work.by):
            advance(done.rows)
            time.sleep(max(0.0, began + done.resealed / rate - time.monotonic()))
    primary = work.node.records.keyring.primary
    if as_json:
        view = {"primary": primary, "rows": done.rows, "resealed": done.resealed, "refused": done.refused}
        output.write_json({**view, "refused_rows": list(done.named)})
    else:
        output.write(f"Sealed anew under data key {primary}: {done.resealed:,} of {done.rows:,} rows.\n")
    if done.refused:
        if not as_json:
            named = ", ".join(output.printable(row) for row in done.named)
            output.note(f"Not what was written, and left as they are: {done.refused:,} rows: {named}")
        raise typer.Exit(REFUSED)


def _retire(work: Work, _rate: int, as_json: bool) -> None:
    with _bar(work, "Reading every row", as_json=as_json) as advance:
        for tally in work.node.keyring_changes.retire(work.by):
            advance(tally.rows)
    minimum = work.node.records.keyring.minimum
    if as_json:
        output.write_json({"changed": "minimum", "minimum": minimum})
    else:
        output.write(f"Rows are accepted under data key {minimum} only.\n")


def _status(work: Work, _rate: int, as_json: bool) -> None:
    tally = Tally()
    with _bar(work, "Reading every row", as_json=as_json) as advance:
        for tally in tallied(work.node.ledger):
            advance(tally.rows)
    keyring = work.node.records.keyring
    versions = sorted(keyring.versions | tally.by_version.keys())
    rows = {version: tally.by_version.get(version, 0) for version in versions}
    head = {"revision": keyring.revision, "primary": keyring.primary, "minimum": keyring.minimum}
    if as_json:
        listed = [{"version": version or None, "rows": count} for version, count in rows.items()]
        output.write_json({**head, "rows": tally.rows, "data_keys": listed})
        return
    output.write_fields({**head, "rows": tally.rows})
    output.write("\n")
    output.write_counts("DATA KEY", ((_named(work, version), count) for version, count in rows.items()))


def _named(work: Work, version: int) -> str:
    keyring = work.node.records.keyring
    if version == UNKNOWN or version not in keyring.versions:
        return "unknown"
    if version == keyring.primary:
        return f"{version} (seals what is new)"
    return f"{version} (retired)" if version < keyring.minimum else str(version)


@contextmanager
def _bar(work: Work, says: str, *, as_json: bool) -> Iterator[Advance]:
    """A progress bar on standard error, where that is a terminal: it is told how many rows were done."""
    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        yield lambda _: None
        return
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task(says, total=work.node.ledger.count_rows())
        yield lambda rows: bar.update(task, completed=rows)
