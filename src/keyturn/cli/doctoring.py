"""`keyturn doctor`: each finding on a line as it comes, and what to mend below it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.text import Text

from keyturn.cli import listening, options, output
from keyturn.doctor.examining import examine
from keyturn.doctor.findings import Finding, Level, Watch

FAILED: Final = 1
_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "bold red"}
_WIDTH: Final = 18  # of the longest check's name


def doctor(*, as_json: options.AsJson = False) -> None:
    """Examine the installation, and say what to mend. Nothing is changed.

    It looks at versions, settings, the key-encryption key, files, disks, the database's role and clocks; at the whole
    log and every row; and at a server where one runs. A key of each type is made, used and thrown away.

    The exit status is 0 when nothing failed; warnings are no failures.
    """
    findings = []
    with _progress(is_shown=not as_json) as watch:
        for finding in examine(os.environ, check_serving=listening.check, watch=watch):
            findings.append(finding)
            if not as_json:
                _show(finding)
    has_failed = any(finding.level is Level.FAILED for finding in findings)
    if as_json:
        output.write_json({"ok": not has_failed, "findings": [_view(finding) for finding in findings]})
    if has_failed:
        raise typer.Exit(FAILED)


def _view(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check,
        "level": finding.level.value,
        "found": finding.found,
        "fix": finding.fix,
    }


def _show(finding: Finding) -> None:
    line = Text(f"{finding.level.value:<9}", style=_STYLES[finding.level])
    line.append(f"{finding.check:<{_WIDTH}}  ", style="bold")
    line.append(output.printable(finding.found), style="not bold default")
    if finding.fix:
        line.append(f"\n{'':<9}fix: {output.printable(finding.fix)}", style="not bold default")
    output.write_text(line)


@contextmanager
def _progress(*, is_shown: bool) -> Iterator[Watch]:
    """A bar on standard error for the checks that take long, where that is a terminal."""
    console = Console(stderr=True)
    if not is_shown or not console.is_terminal:
        yield lambda _what, _done, _total: None
        return
    tasks: dict[str, TaskID] = {}
    with Progress(console=console, transient=True) as bar:

        def watch(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total, visible=done < total)

        yield watch
