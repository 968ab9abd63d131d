"""An endpoint: whom of the log's entries some are told, and its row. `docs/formats/notices.md` specifies it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final

from keyturn.domain.body_parts import BODY_VERSION, Body, Members, guarded, micros_of, without_absent
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.change import EventType, Put
from keyturn.domain.ids import DEFAULT_TENANT, SYSTEM_TENANT
from keyturn.domain.instants import to_micros
from keyturn.domain.notices.destination import Destination
from keyturn.domain.notices.receiver import Receiver
from keyturn.errors import InvalidInputError, shown

ENDPOINT: Final = "endpoint"
PUBLIC_KEY_BYTES: Final = 32
_EVENTS: Final = frozenset(each.value for each in EventType)


class Signing(Enum):
    """How webhooks are signed, after Standard Webhooks."""

    HMAC = "hmac"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint's row.

    Attributes:
        events: types of entries that it is told of, sorted; empty exactly for `every_event`.
        signing: exactly for webhooks.
        generation: number of the signing secret, from 1; 0 exactly without `signing`.
        former_until: until then the secret before signs as well.
        public_key: of Ed25519: 32 bytes.
        receiver: who gets new secrets with what it is told, and the key that they are encrypted to; of webhooks only.
        since: the position in the log after which it is told.
        material: its secrets, sealed.
    """

    endpoint_id: str
    tenant: str
    revision: int = 1
    url: str
    events: tuple[str, ...] = ()
    every_event: bool = False
    signing: Signing | None = None
    generation: int = 0
    former_until: datetime | None = None
    public_key: bytes | None = None
    receiver: Receiver | None = None
    since: int
    is_paused: bool = False
    is_deleted: bool = False
    created_at: datetime
    updated_at: datetime
    material: bytes | None = None

    def __post_init__(self) -> None:
        if Destination.of(self.url).is_webhook != (self.signing is not None):
            raise InvalidInputError("webhooks are signed, and nothing else is", field="signing")
        if (self.generation > 0) != (self.signing is not None) or self.since < 0:
            raise ValueError("a signing secret has a number")
        if (self.signing is Signing.ED25519) != (self.public_key is not None):
            raise ValueError("a public key belongs to Ed25519")
        if self.public_key is not None and len(self.public_key) != PUBLIC_KEY_BYTES:
            raise ValueError("no public key of Ed25519")
        if self.events != checked_events(self.events, every_event=self.every_event):
            raise ValueError("the events are not in order")
        if self.receiver is not None and not self._takes_secrets:
            raise InvalidInputError(
                f"new secrets go with {EventType.ROTATION_STARTED.value}, to webhooks",
                field="receiver",
                fix="Let the endpoint be a webhook, and be told of that event.",
            )

    @property
    def destination(self) -> Destination:
        """Where notices go."""
        return Destination.of(self.url)

    def wants(self, tenant: str, kind: str) -> bool:
        """Whether it is told of an entry of this tenant and type."""
        return self.hears(tenant) and (self.every_event or kind in self.events)

    def hears(self, tenant: str) -> bool:
        """Whether any entry of a tenant may be for it: its own, and for `default`'s those of the installation.

        Whoever runs an installation works in `default`; in no tenant of their own would they learn of what was altered.
        """
        return tenant == self.tenant or (tenant == SYSTEM_TENANT and self.tenant == DEFAULT_TENANT)

    @property
    def _takes_secrets(self) -> bool:
        return self.signing is not None and self.wants(self.tenant, EventType.ROTATION_STARTED.value)

    def changed(self, now: datetime, **members: object) -> Endpoint:
        """The next revision of it, with these members."""
        newer: Endpoint = replace(self, revision=self.revision + 1, updated_at=now, **members)  # type: ignore[arg-type]
        return newer


def checked_events(events: Iterable[str], *, every_event: bool) -> tuple[str, ...]:
    """Types of entries in order; InvalidInputError for one that there is not, or where all and some are asked for."""
    found = tuple(sorted(set(events)))
    unknown = [each for each in found if each not in _EVENTS]
    if unknown:
        raise InvalidInputError(f"there is no event {shown(unknown[0])}", field="events")
    if bool(found) == every_event:
        raise InvalidInputError(
            "an endpoint is told of some events, or of all",
            field="events",
            fix="Name the events, or set every_event and name none.",
        )
    return found


def endpoint_put(endpoint: Endpoint) -> Put:
    """The row of an endpoint."""
    body: Body = {
        "v": BODY_VERSION,
        "kind": ENDPOINT,
        "id": endpoint.endpoint_id,
        "tenant": endpoint.tenant,
        "revision": endpoint.revision,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "every_event": endpoint.every_event,
        "signing": None if endpoint.signing is None else endpoint.signing.value,
        "generation": endpoint.generation,
        "former_until": micros_of(endpoint.former_until),
        "public_key": None if endpoint.public_key is None else to_base64url(endpoint.public_key),
        "receiver": _receiver_body(endpoint.receiver),
        "since": endpoint.since,
        "paused": endpoint.is_paused,
        "deleted": endpoint.is_deleted,
        "created_at": to_micros(endpoint.created_at),
        "updated_at": to_micros(endpoint.updated_at),
    }
    return Put(
        id=endpoint.endpoint_id,
        kind=ENDPOINT,
        tenant=endpoint.tenant,
        revision=endpoint.revision,
        body=without_absent(body),
        material=endpoint.material,
    )


@guarded
def endpoint_from(body: Mapping[str, object], material: bytes | None) -> Endpoint:
    """The endpoint that a body says; IntegrityError for anything that this program did not write."""
    m = Members(body, ENDPOINT)
    signing, public_key = m.optional("signing", str), m.optional("public_key", str)
    receiver = m.optional("receiver", dict)
    endpoint = Endpoint(
        endpoint_id=m.take("id", str),
        tenant=m.take("tenant", str),
        revision=m.take("revision", int),
        url=m.take("url", str),
        events=m.texts("events"),
        every_event=m.take("every_event", bool),
        signing=None if signing is None else Signing(signing),
        generation=m.take("generation", int),
        former_until=m.optional_time("former_until"),
        public_key=None if public_key is None else from_base64url(public_key),
        receiver=None if receiver is None else _receiver_from(receiver),
        since=m.take("since", int),
        is_paused=m.take("paused", bool),
        is_deleted=m.take("deleted", bool),
        created_at=m.time("created_at"),
        updated_at=m.time("updated_at"),
        material=material,
    )
    m.finish()
    return endpoint


def _receiver_body(receiver: Receiver | None) -> Body | None:
    if receiver is None:
        return None
    return {
        "jwk": dict(receiver.jwk),
        "owners": list(receiver.owners),
        "every_owner": receiver.every_owner,
    }


def _receiver_from(body: Mapping[str, object]) -> Receiver:
    m = Members(body)
    receiver = Receiver(
        jwk=m.take("jwk", dict), owners=m.texts("owners"), every_owner=m.take("every_owner", bool)
    )
    m.finish()
    return receiver
