"""Rotating many keys from the command line: each is one line of JSON, and none is lost without a word."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any, Final

import typer

from keyturn.cli import output
from keyturn.cli.failures import UnshownSecretError
from keyturn.cli.handing_over import started_view
from keyturn.cli.interrupting import uninterrupted
from keyturn.cli.opening import Work
from keyturn.domain.instants import rfc3339
from keyturn.issuing.reading import KeyFilter
from keyturn.rotation.bulk import BulkOutcome
from keyturn.views import View

_SAID_EVERY: Final = 100  # keys


def rotate_many(
    work: Work, matching: KeyFilter, since: datetime | None, how: dict[str, Any], *, as_json: bool
) -> None:
    """Rotate each key that meets the filter, and write each as soon as it is done.

    The exit status is 1 where one could not be rotated, or there is none.
    """
    began = work.node.clock.now() if since is None else since
    outcomes = work.node.rotation.bulk.rotate(work.by, matching, since=began, **how)
    _say(f"If this is interrupted, go on with: --since {rfc3339(began)}", as_json=as_json)
    counts: Counter[str] = Counter()
    while True:
        with uninterrupted():
            outcome = next(outcomes, None)
            if outcome is None:
                break
            _write(outcome, began)
        counts[_kind(outcome)] += 1
        if counts.total() % _SAID_EVERY == 0:
            _say(_counted(counts), as_json=as_json)
    _say(f"Done. {_counted(counts)}", as_json=as_json)
    if not counts:
        _say(
            "No key in service is meant by that: are the id, the type and the tenant right?", as_json=as_json
        )
    if counts["problem"] or not counts:
        raise typer.Exit(1)


def _write(outcome: BulkOutcome, began: datetime) -> None:
    try:
        output.write(json.dumps(_view(outcome)) + "\n")
    except OSError:
        if outcome.started is None:
            raise
        rotation_id = outcome.started.rotation.rotation_id
        raise UnshownSecretError(
            f"{outcome.key_id} was rotated ({rotation_id}), but its new secret could not be written out",
            fix=f"Roll it back ('keyturn rotation rollback {rotation_id}') and rotate it again; where that is refused,"
            f" rotate it again. Then go on with the others: --since {rfc3339(began)}",
        ) from None


def _view(outcome: BulkOutcome) -> View:
    told = {"key_id": outcome.key_id, "problem": outcome.problem, "skipped": outcome.skipped}
    return told if outcome.started is None else {**started_view(outcome.started), **told}


def _kind(outcome: BulkOutcome) -> str:
    if outcome.started is not None:
        return "rotated"
    return "problem" if outcome.problem is not None else "skipped"


def _counted(counts: Counter[str]) -> str:
    keys = "1 key" if counts.total() == 1 else f"{counts.total()} keys"
    return f"{keys}: {counts['rotated']} rotated, {counts['skipped']} skipped, {counts['problem']} with a problem."


def _say(text: str, *, as_json: bool) -> None:
    output.note(json.dumps({"level": "info", "detail": text}) if as_json else text)
