"""`keyturn endpoint …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from keyturn.cli import options, output
from keyturn.cli.failures import MisuseError, UnshownSecretError
from keyturn.cli.opening import opened
from keyturn.domain.change import EventType
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.members import parse_unambiguous
from keyturn.domain.notices.deliveries import Deliveries
from keyturn.domain.notices.endpoint import Signing
from keyturn.domain.notices.receiver import Receiver
from keyturn.notice_views import deliveries_view, endpoint_view, revealed_view
from keyturn.notices.endpoints import DEFAULT_OVERLAP, Revealed
from keyturn.serving.notifying import notifiers_from

endpoint_app = typer.Typer(no_args_is_help=True, help="Endpoints of notices: whom the log is told to.")

_MAX_KEY_BYTES: Final = 16_384

EndpointId = Annotated[
    str, typer.Argument(metavar="ENDPOINT_ID", help="The endpoint: whe_ and 22 letters and digits.")
]
Events = Annotated[
    list[EventType] | None,
    options.text("--event", "TYPE", "A type of entry that it is told of: rotation_started. Repeatable."),
]
EveryEvent = Annotated[bool, options.switch("--every-event", "It is told of all.")]
ReceiverKey = Annotated[
    Path | None,
    options.text(
        "--receiver-key", "FILE", "A public key as JWK, to which rotations' new secrets are encrypted for it."
    ),
]
Owners = Annotated[
    list[str] | None, options.text("--owner", "ID", "Whose keys' secrets go to the receiver. Repeatable.")
]
EveryOwner = Annotated[bool, options.switch("--every-owner", "All keys' secrets go to the receiver.")]


@endpoint_app.command("create")
def create(
    *,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="https://…, mailto:name@host, or call:name of a callable.")
    ],
    events: Events = None,
    every_event: EveryEvent = False,
    signing: Annotated[
        Signing | None, options.choice("--signing", "WAY", "How webhooks are signed; hmac if absent", Signing)
    ] = None,
    receiver_key: ReceiverKey = None,
    owners: Owners = None,
    every_owner: EveryOwner = False,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Tell somebody of what happens from now on; a server delivers. The signing secret is printed this once."""
    receiver = _receiver(receiver_key, owners, every_owner)
    with opened(tenant) as work:
        made = work.node.notices.endpoints.create(
            url, work.by, events=_names(events), every_event=every_event, signing=signing, receiver=receiver
        )
        _hand_over(made, as_json=as_json)


@endpoint_app.command("list")
def list_endpoints(*, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False) -> None:
    """List endpoints, newest first."""
    with opened(tenant) as work:
        page = work.node.notices.endpoints.list(work.by, limit=1_000)
        if as_json:
            output.write_json_list([([endpoint_view(each) for each in page.items], page.next_cursor)])
            return
        for each in page.items:
            state = "paused" if each.is_paused else "works"
            told = "every event" if each.every_event else ", ".join(each.events)
            output.write(f"{each.endpoint_id}  {state:<6}  {output.printable(each.url)}  {told}\n")


@endpoint_app.command("show")
def show(
    *, endpoint_id: EndpointId, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """Show one endpoint, and how far deliveries to it have come."""
    with opened(tenant) as work:
        endpoint = work.node.notices.endpoints.get(endpoint_id, work.by)
        state = work.node.notices.redelivery.deliveries(endpoint_id, work.by)
        view = {
            **endpoint_view(endpoint),
            "read_to": state.read_to,
            "failures": state.failures,
            "pending": len(state.pending),
            "dead": len(state.dead),
        }
        output.write_view(view, as_json=as_json)


@endpoint_app.command("update")
def update(
    *,
    endpoint_id: EndpointId,
    url: Annotated[str | None, options.text("--url", "URL", "Where it is now.")] = None,
    events: Events = None,
    every_event: EveryEvent = False,
    pause: Annotated[bool, options.switch("--pause", "Send nothing for now; nothing is lost.")] = False,
    resume: Annotated[bool, options.switch("--resume", "Go on.")] = False,
    receiver_key: ReceiverKey = None,
    owners: Owners = None,
    every_owner: EveryOwner = False,
    no_receiver: Annotated[bool, options.switch("--no-receiver", "No secret goes there any more.")] = False,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Change an endpoint; what is not named stays, and what is pending goes to where it is by then."""
    receiver = _receiver(receiver_key, owners, every_owner)
    if (pause and resume) or (receiver is not None and no_receiver):
        raise MisuseError(
            "an endpoint cannot be both", fix="Give one of --pause and --resume, or of the receivers."
        )
    changes: dict[str, Any] = {} if url is None else {"url": url}
    if events:
        changes["events"] = _names(events)
    if every_event:
        changes["every_event"] = True
    if pause or resume:
        changes["is_paused"] = pause
    if receiver is not None or no_receiver:
        changes["receiver"] = receiver
    with opened(tenant) as work:
        endpoint = work.node.notices.endpoints.update(endpoint_id, work.by, changes)
        output.write_view(endpoint_view(endpoint), as_json=as_json)


@endpoint_app.command("delete")
def delete(*, endpoint_id: EndpointId, tenant: options.Tenant = DEFAULT_TENANT) -> None:
    """Tell an endpoint nothing more; its signing secrets are gone with it."""
    with opened(tenant) as work:
        work.node.notices.endpoints.delete(endpoint_id, work.by)


@endpoint_app.command("rotate-secret")
def rotate_secret(
    *,
    endpoint_id: EndpointId,
    overlap: Annotated[
        int,
        options.time(
            "--overlap", "How long the secret before signs as well: 1d; 0 if it leaked.", options.duration
        ),
    ] = DEFAULT_OVERLAP,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Give an endpoint a new signing secret, and print it, this once."""
    with opened(tenant) as work:
        made = work.node.notices.endpoints.rotate_secret(endpoint_id, work.by, overlap=overlap)
        _hand_over(made, as_json=as_json)


@endpoint_app.command("dead-letters")
def dead_letters(
    *, endpoint_id: EndpointId, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """List the deliveries that were given up, and why."""
    with opened(tenant) as work:
        dead = deliveries_view(work.node.notices.redelivery.deliveries(endpoint_id, work.by))["dead"]
        if as_json:
            output.write_json_list([(dead, None)])
            return
        for each in dead:
            output.write(
                f"{each['position']:>8}  {each['subject']}  {each['at']}  {each['attempts']}x  {each['why']}\n"
            )


@endpoint_app.command("redeliver")
def redeliver(
    *,
    endpoint_id: EndpointId,
    positions: Annotated[
        list[int] | None,
        options.text(
            "--position", "NUMBER", "Of an entry, dead or delivered of late; all dead ones if absent."
        ),
    ] = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Have what was given up delivered again, by whichever server comes next."""
    with opened(tenant) as work:
        _answer_deliveries(
            work.node.notices.redelivery.redeliver(endpoint_id, work.by, positions or None), as_json=as_json
        )


@endpoint_app.command("dismiss")
def dismiss(
    *,
    endpoint_id: EndpointId,
    positions: Annotated[
        list[int] | None,
        options.text("--position", "NUMBER", "Of a dead entry; all dead ones if absent."),
    ] = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Forget what was given up: it is not delivered any more, and makes room for others."""
    with opened(tenant) as work:
        _answer_deliveries(
            work.node.notices.redelivery.dismiss(endpoint_id, work.by, positions or None), as_json=as_json
        )


@endpoint_app.command("test")
def try_out(
    *, endpoint_id: EndpointId, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """Send a notice of the type endpoint_tested now, once, from here, and say what became of it."""
    with opened(tenant) as work:
        outcome = work.node.notices.trials.tell(endpoint_id, work.by, notifiers_from(work.settings))
        if as_json:
            output.write_json({"delivered": outcome.delivered, "why": outcome.why or None})
        else:
            output.write("It was delivered.\n" if outcome.delivered else f"It failed: {outcome.why}\n")
        if not outcome.delivered:
            raise typer.Exit(1)


def _names(events: list[EventType] | None) -> list[str]:
    return [each.value for each in events or ()]


def _receiver(path: Path | None, owners: list[str] | None, every_owner: bool) -> Receiver | None:
    if path is None:
        if owners or every_owner:
            raise MisuseError("owners of what", fix="Add --receiver-key and the file of a public key.")
        return None
    with path.open("rb") as file:
        raw = file.read(_MAX_KEY_BYTES + 1)
    try:
        jwk = parse_unambiguous(raw.decode()) if len(raw) <= _MAX_KEY_BYTES else None
    except (ValueError, RecursionError):
        jwk = None
    if not isinstance(jwk, dict):
        raise MisuseError("the file holds no JWK", fix='Write the public key as JSON: {"kty": "OKP", …}.')
    return Receiver.of(jwk, owners=owners or (), every_owner=every_owner)


def _hand_over(made: Revealed, *, as_json: bool) -> None:
    try:
        if as_json:
            output.write_json(revealed_view(made))
            return
        output.write_fields(endpoint_view(made.endpoint))
        if made.secret is not None:
            output.note("The last line is the signing secret. It is shown this once.")
            output.write(f"\n{made.secret.reveal()}\n")
    except OSError:
        raise UnshownSecretError(
            f"{made.endpoint.endpoint_id} has a new signing secret, and it could not be written out",
            fix=f"Make another one: 'keyturn endpoint rotate-secret {made.endpoint.endpoint_id} --overlap 0'.",
        ) from None


def _answer_deliveries(state: Deliveries, *, as_json: bool) -> None:
    if as_json:
        output.write_json(deliveries_view(state))
    else:
        output.write(f"{len(state.pending)} deliveries are pending, {len(state.dead)} are dead.\n")
