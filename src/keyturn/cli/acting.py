"""`keyturn revoke`, `suspend`, `resume` and `destroy`."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console

from keyturn.cli import options, output
from keyturn.cli.failures import MisuseError
from keyturn.cli.opening import Work, opened
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.key import Key
from keyturn.domain.lifecycle import RevocationReason
from keyturn.issuing.reading import KeyFilter
from keyturn.views import key_view


def revoke(
    *,
    key_id: Annotated[
        str | None, typer.Argument(metavar="KEY_ID", help="The key: key_ and 22 letters and digits.")
    ] = None,
    owner: Annotated[
        str | None, options.text("--owner", "ID", "Instead of one key, all that this owner has, at once.")
    ] = None,
    reason: Annotated[
        RevocationReason, options.choice("--reason", "REASON", "Why, as RFC 5280 names it", RevocationReason)
    ] = RevocationReason.UNSPECIFIED,
    note: options.Note = None,
    wait: Annotated[bool, options.switch("--wait", "Return when every node refuses it.")] = False,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Refuse a key, or all keys of an owner, for good.

    For the reason keyCompromise it is marked as compromised, otherwise as deactivated.

    Every node refuses it within KEYTURN_MAX_STALENESS, which is to be set here as it is for the servers.
    """
    if (key_id is None) == (owner is None):
        raise MisuseError("one key or one owner is revoked", fix="Give a KEY_ID, or --owner and an id.")
    with opened(tenant) as work:
        if key_id is not None:
            key = work.node.lifecycle.revoke(key_id, work.by, reason=reason, note=note)
            _answer(key, as_json=as_json)
        elif owner is not None:
            count = work.node.lifecycle.revoke_owner(owner, work.by, reason=reason, note=note)
            _answer_owner(owner, count, as_json=as_json)
            _warn_of_nobody(work, owner, as_json=as_json)
        _await_bound(work, wait=wait, as_json=as_json)


def suspend(
    *,
    key_id: options.KeyId,
    note: options.Note = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Refuse a key until it is resumed."""
    with opened(tenant) as work:
        _answer(work.node.lifecycle.suspend(key_id, work.by, note=note), as_json=as_json)
        _note_bound(work, as_json=as_json)


def resume(
    *,
    key_id: options.KeyId,
    note: options.Note = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Accept a suspended key again."""
    with opened(tenant) as work:
        _answer(work.node.lifecycle.resume(key_id, work.by, note=note), as_json=as_json)


def destroy(
    *,
    key_id: options.KeyId,
    note: options.Note = None,
    yes: Annotated[
        bool, options.switch("--yes", "Do not ask first; needed where there is no terminal.")
    ] = False,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Refuse a key for good and destroy its secret; its metadata and its history stay."""
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise MisuseError(
            "a key is destroyed only after a question, and there is no terminal to ask it at",
            fix="Add --yes.",
        )
    with opened(tenant) as work:
        if not yes:
            _confirm(work.node.reader.get(key_id, work.by))
        _answer(work.node.lifecycle.destroy(key_id, work.by, note=note), as_json=as_json)
        _note_bound(work, as_json=as_json)


def _confirm(key: Key) -> None:
    named = "".join(
        f", {name} {value}" for name, value in (("name", key.name), ("owner", key.owner)) if value
    )
    question = f"Destroy {key.key_id}{named}? This cannot be undone."
    typer.confirm(output.printable(question), abort=True, err=True)


def _answer(key: Key, *, as_json: bool) -> None:
    if as_json:
        output.write_json(key_view(key))
    else:
        output.write(f"{key.key_id} is now {key.state.value}.\n")


def _answer_owner(owner: str, count: int, *, as_json: bool) -> None:
    if as_json:
        output.write_json({"owner": owner, "revoked": count})
    else:
        keys = "1 key ends" if count == 1 else f"{count} keys end"
        output.write(f"The owner {output.printable(owner)} is revoked: {keys} with it.\n")


def _warn_of_nobody(work: Work, owner: str, *, as_json: bool) -> None:
    """Say so where the owner has never had a key: the id may be misspelt."""
    if work.node.reader.list(work.by, KeyFilter(owner=owner), limit=1).items:
        return
    detail = (
        f"the owner {output.printable(owner)} has no keys in the tenant {work.by.tenant}: is the id right?"
    )
    output.note(json.dumps({"level": "warning", "detail": detail}) if as_json else f"WARNING: {detail}")


def _await_bound(work: Work, *, wait: bool, as_json: bool) -> None:
    """Sleep until every node has read the log since the commit, or decides nothing; or say how long that takes."""
    bound = work.settings.max_staleness
    until = work.node.clock.steady() + bound
    if not wait:
        _note_bound(work, as_json=as_json)
        return
    console = Console(stderr=True)
    with console.status(f"Waiting {bound:g} s for every node") if console.is_terminal else nullcontext():
        while (left := until - work.node.clock.steady()) > 0:
            time.sleep(left)
    if not as_json:
        output.note("Every node refuses it now.")


def _note_bound(work: Work, *, as_json: bool) -> None:
    if not as_json:
        output.note(f"Every node refuses it within {work.settings.max_staleness:g} s.")
