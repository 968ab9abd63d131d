"""`keyturn rotate` and `keyturn rotation …`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from keyturn.cli import options, output
from keyturn.cli.failures import MisuseError, UnshownSecretError
from keyturn.cli.opening import Work, opened
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.instants import rfc3339
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.rotation import Rotation
from keyturn.issuing.reading import KeyFilter
from keyturn.rotation.bulk import BulkOutcome
from keyturn.rotation.moving import Mover
from keyturn.rotation.starting import Started
from keyturn.rotation_views import event_view, preview_view, rotation_view, started_view, statistics_view
from keyturn.views import View

rotation_app = typer.Typer(no_args_is_help=True, help="Rotations under way, and past ones.")

RotationId = Annotated[
    str, typer.Argument(metavar="ROTATION_ID", help="The rotation: rot_ and 22 letters and digits.")
]
Strategy = Annotated[
    RotationStrategy | None,
    options.choice("--strategy", "STRATEGY", "How; by its policy if absent", RotationStrategy),
]
Overlap = Annotated[
    int | None, options.time("--overlap", "How long both verify: 3600 (seconds), 12h, 7d.", options.duration)
]


def rotate(
    *,
    key_id: Annotated[
        str | None, typer.Argument(metavar="KEY_ID", help="The key: key_ and 22 letters and digits.")
    ] = None,
    owner: Annotated[
        str | None, options.text("--owner", "ID", "Instead of one key, all that this owner has.")
    ] = None,
    everything: Annotated[bool, options.switch("--all", "Instead of one key, all of the type.")] = False,
    key_type: Annotated[
        KeyType | None, options.choice("--type", "TYPE", "Only keys of this type", KeyType)
    ] = None,
    strategy: Strategy = None,
    overlap: Overlap = None,
    compromised: Annotated[
        bool, options.switch("--compromised", "The old secret is in wrong hands: refuse it at once.")
    ] = False,
    keep_secret: Annotated[
        bool, options.switch("--keep-secret", "Let a token's new secret wait to be picked up.")
    ] = False,
    since: Annotated[
        datetime | None,
        options.time(
            "--since", f"Go on with what began at {options.EXAMPLE_TIME}: skip what was rotated since."
        ),
    ] = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Give a key a new secret and print it, this once; its id, prefix, limits and history stay.

    Of many keys each is one line of JSON, as soon as it is done.
    """
    how: dict[str, Any] = {
        "strategy": strategy,
        "is_compromised": compromised,
        "keeps_secret": keep_secret,
        "said": {} if overlap is None else {"overlap": overlap},
    }
    if (key_id is not None) + (owner is not None) + everything != 1:
        raise MisuseError(
            "one key, an owner's keys or all of a type are rotated",
            fix="Give a KEY_ID, --owner and an id, or --all with --type.",
        )
    if everything and key_type is None:
        raise MisuseError("all keys of which type", fix="Add --type.")
    with opened(tenant) as work:
        if key_id is not None:
            started = work.node.rotation.requests.rotate(key_id, work.by, **how)
            _hand_over(started, as_json=as_json)
            return
        _rotate_all(work, KeyFilter(owner=owner, type=key_type), since, how)


def _rotate_all(work: Work, matching: KeyFilter, since: datetime | None, how: dict[str, Any]) -> None:
    began = work.node.clock.now() if since is None else since
    output.note(f"If this is interrupted, go on with: --since {rfc3339(began)}")
    failed = 0
    for outcome in work.node.rotation.bulk.rotate(work.by, matching, since=began, **how):
        output.write(json.dumps(_outcome_view(outcome)) + "\n")
        failed += outcome.problem is not None
    if failed:
        raise typer.Exit(1)


def _outcome_view(outcome: BulkOutcome) -> View:
    if outcome.started is None:
        return {"key_id": outcome.key_id, "problem": outcome.problem}
    return {**started_view(outcome.started), "problem": None}


def _hand_over(started: Started, *, as_json: bool) -> None:
    try:
        if as_json:
            output.write_json(started_view(started))
            return
        output.write_fields(rotation_view(started.rotation))
        if started.secret is not None:
            output.note("The last line is the new secret. It is shown this once.")
            output.write(f"\n{started.secret.reveal()}\n")
        elif started.public_key is not None:
            output.write(f"\n{started.public_key}")
    except OSError:
        raise UnshownSecretError(
            f"{started.key.key_id} was rotated, but its new secret could not be written out",
            fix=f"Roll it back ('keyturn rotation rollback {started.rotation.rotation_id}') and rotate again;"
            " where that is refused, rotate again.",
        ) from None


@rotation_app.command("list")
def list_rotations(
    *,
    key_id: Annotated[str | None, options.text("--key", "KEY_ID", "Of this key.")] = None,
    policy_id: Annotated[str | None, options.text("--policy", "ID", "By this policy.")] = None,
    limit: Annotated[int, options.text("--limit", "COUNT", "At most so many.")] = 100,
    cursor: Annotated[str | None, options.text("--cursor", "CURSOR", "Go on where a page ended.")] = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List rotations, newest first."""
    with opened(tenant) as work:
        page = work.node.rotation.history.list(
            work.by, key_id=key_id, policy_id=policy_id, limit=limit, cursor=cursor
        )
        if as_json:
            output.write_json_list([([rotation_view(each) for each in page.items], page.next_cursor)])
            return
        for each in page.items:
            state = "paused" if each.paused else each.stage.value
            output.write(f"{each.rotation_id}  {each.key_id}  {each.strategy.value:<12} {state}\n")


@rotation_app.command("show")
def show(
    *, rotation_id: RotationId, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """Show one rotation."""
    with opened(tenant) as work:
        rotation = work.node.rotation.mover.get(rotation_id, work.by)
        output.write_view(rotation_view(rotation), as_json=as_json)


@rotation_app.command("preview")
def preview(
    *,
    key_id: options.KeyId,
    strategy: Strategy = None,
    overlap: Overlap = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show what rotating a key would do now, stage by stage."""
    with opened(tenant) as work:
        said = {} if overlap is None else {"overlap": overlap}
        view = preview_view(
            work.node.rotation.requests.preview(key_id, work.by, strategy=strategy, said=said)
        )
        if as_json:
            output.write_json(view)
            return
        stages = view.pop("stages")
        output.write_fields(view)
        for stage in stages:
            output.write(f"{stage['at']}  {stage['stage']:<10} serves: version {stage['serving_version']}\n")


@rotation_app.command("check")
def check(*, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False) -> None:
    """Do what is due in every tenant, notices of what is to come included, as a server does by itself."""
    with opened(tenant) as work:
        count = 0
        for event in work.node.rotation.scheduler.work():
            count += 1
            view = event_view(event)
            output.write(
                json.dumps(view) + "\n" if as_json else f"{event.type}  {event.key_id}  {event.why}\n"
            )
        announced = sum(work.node.announcer.sweep(work.settings.announced))
        if not as_json:
            output.note(f"{count} things were done, {announced} announced.")


@rotation_app.command("stats")
def stats(*, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False) -> None:
    """Show how rotations of the last 30 days went, how old keys are, and who still uses an old version."""
    with opened(tenant) as work:
        view = statistics_view(work.node.rotation.statistics.of(work.by))
        if as_json:
            output.write_json(view)
        else:
            output.write_fields({**view, "stragglers": len(view["stragglers"])})


@rotation_app.command("pick-up")
def pick_up(
    *, rotation_id: RotationId, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """Print the new secret that waits, this once; then the new version takes over."""
    with opened(tenant) as work:
        picked = work.node.rotation.mover.pick_up(rotation_id, work.by)
        _hand_over(Started(rotation=picked.rotation, key=picked.key, secret=picked.secret), as_json=as_json)


def _acting(name: str, says: str, act: Callable[[Mover], Callable[..., Rotation]]) -> None:
    def command(
        *,
        rotation_id: RotationId,
        note: options.Note = None,
        tenant: options.Tenant = DEFAULT_TENANT,
        as_json: options.AsJson = False,
    ) -> None:
        with opened(tenant) as work:
            rotation = act(work.node.rotation.mover)(rotation_id, work.by, note=note)
            output.write_view(rotation_view(rotation), as_json=as_json)

    command.__doc__ = says
    rotation_app.command(name)(command)


_acting("pause", "Let a rotation stand still; the old version goes on.", lambda mover: mover.pause)
_acting("resume", "Let a rotation go on, with what was left of its times.", lambda mover: mover.resume)
_acting("rollback", "Put the old version back, and end the new one.", lambda mover: mover.roll_back)
_acting("complete", "End the old version now, ahead of its time.", lambda mover: mover.complete)
_acting("approve", "Let a staged version take over.", lambda mover: mover.approve)
