"""`keyturn rotate` and `keyturn rotation …`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from keyturn.cli import options, output, taking_over
from keyturn.cli.failures import MisuseError
from keyturn.cli.handing_over import hand_over
from keyturn.cli.interrupting import uninterrupted
from keyturn.cli.opening import opened
from keyturn.cli.rotating_many import rotate_many
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.rotation import Rotation
from keyturn.issuing.reading import KeyFilter
from keyturn.rotation.moving import Mover
from keyturn.rotation_views import event_view, preview_view, rotation_view, statistics_view

rotation_app = typer.Typer(no_args_is_help=True, help="Rotations under way, and past ones.")

Strategy = Annotated[
    RotationStrategy | None,
    options.choice("--strategy", "STRATEGY", "How; by its policy if absent", RotationStrategy),
]
Overlap = Annotated[
    int | None, options.time("--overlap", "How long both verify: 3600 (seconds), 12h, 7d.", options.duration)
]

More = Annotated[
    dict[str, Any] | None,
    options.text(
        "--more",
        "JSON",
        "Other parameters as HTTP has them: '{\"dwell\": 3600}'.",
        parser=options.json_object,
    ),
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
    more: More = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Give a key a new secret and print it, this once; its id, prefix, limits and history stay.

    Of many keys each is one line of JSON, as soon as it is done; those that were rotated since --since say so.
    """
    if (key_id is not None) + (owner is not None) + everything != 1:
        raise MisuseError(
            "one key, an owner's keys or all of a type are rotated",
            fix="Give a KEY_ID, --owner and an id, or --all with --type.",
        )
    if everything and key_type is None:
        raise MisuseError("all keys of which type", fix="Add --type.")
    if key_id is not None and (since is not None or key_type is not None):
        raise MisuseError(
            "--since and --type are for many keys", fix="Leave them out, or give --owner or --all instead."
        )
    how: dict[str, Any] = {
        "strategy": strategy,
        "is_compromised": compromised,
        "keeps_secret": keep_secret,
        "said": _said(overlap, more),
    }
    with opened(tenant) as work:
        if key_id is None:
            rotate_many(work, KeyFilter(owner=owner, type=key_type), since, how, as_json=as_json)
            return
        with uninterrupted():
            hand_over(work.node.rotation.requests.rotate(key_id, work.by, **how), as_json=as_json)


def _said(overlap: int | None, more: dict[str, Any] | None) -> dict[str, Any]:
    return options.with_more({} if overlap is None else {"overlap": overlap}, more)


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
    *,
    rotation_id: options.RotationId,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
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
    more: More = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show what rotating a key would do now, stage by stage."""
    with opened(tenant) as work:
        said = _said(overlap, more)
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


def _acting(name: str, says: str, act: Callable[[Mover], Callable[..., Rotation]]) -> None:
    def command(
        *,
        rotation_id: options.RotationId,
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
rotation_app.command("prove")(taking_over.prove)
rotation_app.command("pick-up")(taking_over.pick_up)
rotation_app.command("offer-code")(taking_over.offer_code)
rotation_app.command("redeem-code")(taking_over.redeem_code)
