"""`keyturn policy …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from keyturn.cli import options, output
from keyturn.cli.failures import MisuseError
from keyturn.cli.opening import opened
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.policy import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.scope import KeyScope
from keyturn.rotation.said import policy_fields
from keyturn.rotation_views import policy_view
from keyturn.views import key_view

policy_app = typer.Typer(no_args_is_help=True, help="Rotation policies: which keys, when, and how.")

PolicyId = Annotated[str, typer.Argument(metavar="POLICY_ID", help="Your own name for the policy.")]
Frequency = Annotated[
    RotationFrequency | None, options.choice("--frequency", "FREQUENCY", "How often", RotationFrequency)
]
Strategy = Annotated[
    RotationStrategy | None, options.choice("--strategy", "STRATEGY", "How", RotationStrategy)
]
CronText = Annotated[str | None, options.text("--cron", "FIELDS", "For the frequency custom: '30 3 1 * *'.")]
Zone = Annotated[
    str | None, options.text("--time-zone", "NAME", "What a day is: Europe/Zurich; UTC if absent.")
]
Overlap = Annotated[
    int | None, options.time("--overlap", "How long the old version goes on: 12h, 7d.", options.duration)
]
MaxAge = Annotated[
    int | None, options.time("--max-age", "Replace what is older, whatever the frequency.", options.duration)
]
Types = Annotated[
    list[KeyType] | None, options.choice("--type", "TYPE", "Keys of this type; repeatable", KeyType)
]
Owners = Annotated[list[str] | None, options.text("--owner", "ID", "Keys of this owner. Repeatable.")]
Tags = Annotated[list[str] | None, options.text("--tag", "TAG", "Keys with this tag. Repeatable.")]
Scopes = Annotated[
    list[KeyScope] | None, options.choice("--scope", "SCOPE", "Keys of this scope; repeatable", KeyScope)
]
KeyIds = Annotated[list[str] | None, options.text("--key", "KEY_ID", "This key. Repeatable.")]
EveryKey = Annotated[bool, options.switch("--every-key", "All keys that name no policy.")]
SelectNone = Annotated[bool, options.switch("--may-select-none", "Keep it even if no key is selected yet.")]
More = Annotated[
    dict[str, Any] | None,
    options.text(
        "--more", "JSON", "Other fields as HTTP has them: '{\"dwell\": 3600}'.", parser=options.json_object
    ),
]


@policy_app.command("create")
def create(
    *,
    policy_id: PolicyId,
    frequency: Frequency = None,
    strategy: Strategy = None,
    cron: CronText = None,
    time_zone: Zone = None,
    overlap: Overlap = None,
    max_age: MaxAge = None,
    types: Types = None,
    owners: Owners = None,
    tags: Tags = None,
    scopes: Scopes = None,
    key_ids: KeyIds = None,
    every_key: EveryKey = False,
    may_select_none: SelectNone = False,
    more: More = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Keep a policy. Rotations begin by it once they are due, wherever a server runs."""
    said = _said(
        more,
        _keys(types, owners, tags, scopes, key_ids, every_key=every_key),
        frequency=frequency,
        strategy=strategy,
        cron=cron,
        time_zone=time_zone,
        overlap=overlap,
        max_age=max_age,
    )
    if "frequency" not in said or "strategy" not in said:
        raise MisuseError("a policy has a frequency and a strategy", fix="Add --frequency and --strategy.")
    policy = RotationPolicy(policy_id=policy_id, **said)
    with opened(tenant) as work:
        kept = work.node.rotation.policies.create(policy, work.by, may_select_none=may_select_none)
        output.write_view(policy_view(kept), as_json=as_json)


@policy_app.command("update")
def update(
    *,
    policy_id: PolicyId,
    frequency: Frequency = None,
    strategy: Strategy = None,
    cron: CronText = None,
    time_zone: Zone = None,
    overlap: Overlap = None,
    max_age: MaxAge = None,
    types: Types = None,
    owners: Owners = None,
    tags: Tags = None,
    scopes: Scopes = None,
    key_ids: KeyIds = None,
    every_key: EveryKey = False,
    may_select_none: SelectNone = False,
    more: More = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Change a policy; what is not named stays, and rotations that have begun go on as planned."""
    changes = _said(
        more,
        _keys(types, owners, tags, scopes, key_ids, every_key=every_key),
        frequency=frequency,
        strategy=strategy,
        cron=cron,
        time_zone=time_zone,
        overlap=overlap,
        max_age=max_age,
    )
    with opened(tenant) as work:
        kept = work.node.rotation.policies.update(
            policy_id, work.by, changes, may_select_none=may_select_none
        )
        output.write_view(policy_view(kept), as_json=as_json)


@policy_app.command("list")
def list_policies(*, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False) -> None:
    """List policies, newest first."""
    with opened(tenant) as work:
        page = work.node.rotation.policies.list(work.by, limit=1_000)
        if as_json:
            output.write_json_list([([policy_view(kept) for kept in page.items], page.next_cursor)])
            return
        for kept in page.items:
            policy, state = kept.policy, "paused" if kept.paused else "works"
            output.write(
                f"{policy.policy_id:<32} {policy.frequency.value:<10} {policy.strategy.value:<12} {state}\n"
            )


@policy_app.command("show")
def show(
    *, policy_id: PolicyId, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """Show one policy."""
    with opened(tenant) as work:
        kept = work.node.rotation.policies.get(policy_id, work.by)
        output.write_view(policy_view(kept), as_json=as_json)


@policy_app.command("delete")
def delete(*, policy_id: PolicyId, tenant: options.Tenant = DEFAULT_TENANT) -> None:
    """Delete a policy; keys that name it are not rotated any more."""
    with opened(tenant) as work:
        work.node.rotation.policies.delete(policy_id, work.by)


@policy_app.command("pause")
def pause(
    *, policy_id: PolicyId, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """Let no rotation begin by a policy for now."""
    with opened(tenant) as work:
        kept = work.node.rotation.policies.pause(policy_id, work.by)
        output.write_view(policy_view(kept), as_json=as_json)


@policy_app.command("resume")
def resume(
    *, policy_id: PolicyId, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """Let rotations begin by a policy again, also by one that has stopped by itself."""
    with opened(tenant) as work:
        kept = work.node.rotation.policies.resume(policy_id, work.by)
        output.write_view(policy_view(kept), as_json=as_json)


@policy_app.command("assign")
def assign(
    *,
    key_id: options.KeyId,
    policy_id: Annotated[
        str | None, options.text("--policy", "ID", "The policy; without it the key follows none.")
    ] = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Let a key follow a policy, whatever others select."""
    with opened(tenant) as work:
        key = work.node.rotation.policies.assign(key_id, policy_id, work.by)
        if as_json:
            output.write_json(key_view(key))
        else:
            output.write(f"{key.key_id} follows {policy_id or 'no policy'} now.\n")


def _said(more: dict[str, Any] | None, keys: KeySelection | None, **given: Any) -> dict[str, Any]:
    """What was said of a policy, by options and by --more."""
    said = {name: value for name, value in {**given, "keys": keys}.items() if value is not None}
    return options.with_more(said, None if more is None else policy_fields(more))


def _keys(
    types: list[KeyType] | None,
    owners: list[str] | None,
    tags: list[str] | None,
    scopes: list[KeyScope] | None,
    key_ids: list[str] | None,
    *,
    every_key: bool,
) -> KeySelection | None:
    if not (types or owners or tags or scopes or key_ids or every_key):
        return None
    return KeySelection(
        types=tuple(types or ()),
        owners=tuple(owners or ()),
        tags=tuple(tags or ()),
        scopes=tuple(scopes or ()),
        key_ids=tuple(key_ids or ()),
        every_key=every_key,
    )
