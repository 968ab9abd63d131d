"""Endpoints: making them, changing them, and their signing secrets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from keyturn.crypto import webhooks
from keyturn.crypto.jwe import require_usable
from keyturn.crypto.randomness import random_base62
from keyturn.crypto.sealing import endpoint_place, open_material, seal_material
from keyturn.domain import ids
from keyturn.domain.change import ChangeSet, Event, EventType, Put
from keyturn.domain.notices.destination import Destination
from keyturn.domain.notices.endpoint import (
    Endpoint,
    Signing,
    checked_events,
    endpoint_put,
)
from keyturn.domain.notices.receiver import Receiver
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.errors import IllegalTransitionError, IntegrityError, InvalidInputError, NotFoundError
from keyturn.issuing.changes import require_changes
from keyturn.issuing.conditions import always
from keyturn.issuing.cursors import DEFAULT_LIMIT, Cursors, check_limit
from keyturn.issuing.keys import Keys
from keyturn.issuing.retrying import Retrying
from keyturn.notices.roster import Roster
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.records import Records

CHANGEABLE: Final = frozenset(("url", "events", "every_event", "is_paused", "receiver"))
MAX_ENDPOINTS: Final = 100  # of a tenant
READS_THE_LOG: Final = "audit.read"  # whoever says where notices go may read what they say
DEFAULT_OVERLAP: Final = 86_400  # seconds for which the secret before signs as well
MAX_OVERLAP: Final = 30 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """An endpoint, and the signing secret that was made for it; None where there is none to be told."""

    endpoint: Endpoint
    secret: Secret | None


Condition = Callable[[Endpoint], None]
"""Given the endpoint as it is now, raises PreconditionFailedError where the change is not to be made to that."""
Beside = Callable[[Revealed], tuple[Put, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPage:
    """Some endpoints, newest first, and the cursor for those after them; None when there are no more."""

    items: tuple[Endpoint, ...]
    next_cursor: str | None


class Endpoints:
    """Keeps endpoints."""

    def __init__(self, *, ledger: Ledger, records: Records, keys: Keys, roster: Roster, clock: Clock) -> None:
        self._roster = roster
        self._ledger = ledger
        self._records = records
        self._clock = clock
        self._turns = keys.turns
        self._retrying = Retrying(turns=keys.turns, clock=clock)

    def create(
        self,
        url: str,
        by: Principal,
        *,
        events: Collection[str] = (),
        every_event: bool = False,
        signing: Signing | None = None,
        receiver: Receiver | None = None,
        beside: Beside = lambda _: (),
    ) -> Revealed:
        """Tell a URL of what happens from now on; webhooks are signed by HMAC unless `signing` says otherwise.

        The secret is in the answer, and nowhere later; an Ed25519 key stays here, and its public half is the
        endpoint's. With a `receiver` new secrets go there too, encrypted.

        InvalidInputError for a URL, an event or a key that is none, and beyond the tenant's MAX_ENDPOINTS.
        ForbiddenError for who may not read the log, and for a receiver that is named by who could not issue every key.
        """
        by.require(READS_THE_LOG)
        _require_may_name(receiver, by)
        now, endpoint_id = self._clock.now(), ids.build(ids.ENDPOINT, random_base62(ids.ID_CHARACTERS))
        is_webhook = Destination.of(url).is_webhook
        signing = Signing.HMAC if is_webhook and signing is None else signing
        secret = webhooks.new_secret() if is_webhook else None
        self._records.log.catch_up()
        endpoint = Endpoint(
            endpoint_id=endpoint_id,
            tenant=by.tenant,
            url=url,
            events=checked_events(events, every_event=every_event),
            every_event=every_event,
            signing=signing,
            generation=int(is_webhook),
            public_key=_public_half(signing, secret),
            receiver=receiver,
            since=self._records.log.position,
            created_at=now,
            updated_at=now,
            material=None if secret is None else self._sealed((secret,), by.tenant, endpoint_id, 1),
        )
        revealed = Revealed(endpoint=endpoint, secret=_told(signing, secret))
        with self._turns.taken(f"endpoints of {by.tenant}"):
            self._require_room(by.tenant)
            self._commit(EventType.ENDPOINT_CREATED, endpoint, by, now, beside=beside(revealed))
        return revealed

    def _require_room(self, tenant: str) -> None:
        # Processes that make some in the same moment may go beyond it by one each, which harms nobody.
        if sum(each.tenant == tenant for each in self._roster.present()) >= MAX_ENDPOINTS:
            raise InvalidInputError(
                f"a tenant has at most {MAX_ENDPOINTS} endpoints",
                fix="Delete those that are not needed any more.",
            )

    def get(self, endpoint_id: str, by: Principal) -> Endpoint:
        """An endpoint; NotFoundError for one that there is not, or not any more."""
        endpoint = self._roster.get(endpoint_id) if ids.is_id(ids.ENDPOINT, endpoint_id) else None
        if endpoint is None or endpoint.tenant != by.tenant:
            raise NotFoundError("there is no endpoint of this id")
        return endpoint

    def update(
        self, endpoint_id: str, by: Principal, changes: Mapping[str, Any], *, only_if: Condition = always
    ) -> Endpoint:
        """The endpoint with another `url`, `events`, `every_event`, `is_paused` or `receiver`.

        What is pending goes to where the endpoint is by then, if it wants it by then. InvalidInputError for another
        kind of URL: an endpoint of its own is for that. ForbiddenError as for `create`: another URL or filter takes
        reading the log, and another URL of an endpoint that new secrets go to takes what the receiver does: whoever
        answers there is taken to have them.
        """
        require_changes(changes, CHANGEABLE)

        def attempt() -> Endpoint:
            before, now = self.get(endpoint_id, by), self._clock.now()
            only_if(before)
            if {"url", "events", "every_event"} & changes.keys():
                by.require(READS_THE_LOG)
            if {"url", "receiver"} & changes.keys():
                _require_may_name(changes.get("receiver") or before.receiver, by)
            _require_same_kind(before, changes.get("url", before.url))
            members = {**changes, **_filter_of(before, changes)}
            endpoint = before.changed(now, **members)
            self._commit(EventType.ENDPOINT_UPDATED, endpoint, by, now, details={"changed": sorted(changes)})
            return endpoint

        return self._retrying.change(endpoint_id, attempt)

    def rotate_secret(
        self,
        endpoint_id: str,
        by: Principal,
        *,
        overlap: int = DEFAULT_OVERLAP,
        beside: Beside = lambda _: (),
    ) -> Revealed:
        """A new signing secret. For `overlap` seconds (0 to 30 days) the one before signs as well.

        With 0 it signs nothing any more, at once: that is for a secret that has leaked.
        """
        if type(overlap) is not int or not 0 <= overlap <= MAX_OVERLAP:
            raise InvalidInputError(f"the overlap is 0 to {MAX_OVERLAP} seconds", field="overlap")

        def attempt() -> Revealed:
            before, now = self.get(endpoint_id, by), self._clock.now()
            if before.signing is None:
                raise IllegalTransitionError(
                    "the endpoint signs nothing", fix="Only webhooks have a signing secret."
                )
            secret, generation = webhooks.new_secret(), before.generation + 1
            kept = (secret, self._all_secrets(before)[0]) if overlap else (secret,)
            endpoint = before.changed(
                now,
                generation=generation,
                former_until=now + timedelta(seconds=overlap) if overlap else None,
                public_key=_public_half(before.signing, secret),
                material=self._sealed(kept, before.tenant, endpoint_id, generation),
            )
            revealed = Revealed(endpoint=endpoint, secret=_told(before.signing, secret))
            details = {"generation": generation}
            kind = EventType.ENDPOINT_SECRET_ROTATED
            self._commit(kind, endpoint, by, now, details=details, beside=beside(revealed))
            return revealed

        return self._retrying.change(endpoint_id, attempt)

    def delete(self, endpoint_id: str, by: Principal, *, only_if: Condition = always) -> None:
        """Tell an endpoint nothing more. Its secrets are gone with it."""

        def attempt() -> None:
            before, now = self.get(endpoint_id, by), self._clock.now()
            only_if(before)
            gone = before.changed(now, is_deleted=True, material=None)
            self._commit(EventType.ENDPOINT_DELETED, gone, by, now)

        self._retrying.change(endpoint_id, attempt)

    def list(self, by: Principal, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> EndpointPage:
        """Endpoints of the caller's tenant, newest first; `limit` is 1 to 1,000.

        One whose row was altered is left out, and reported.
        """
        check_limit(limit)
        cursors = Cursors(self._records, by.tenant, "endpoints")
        found = self._ledger.list_endpoints(by.tenant, cursors.read(cursor), limit + 1)
        items = tuple(
            endpoint for endpoint in self._roster.opened(found[:limit]) if endpoint.tenant == by.tenant
        )
        return EndpointPage(items=items, next_cursor=cursors.after(found, limit))

    def secrets(self, endpoint: Endpoint, now: datetime) -> tuple[Secret, ...]:
        """What signs at present, the latest secret first; none where nothing is signed."""
        if endpoint.signing is None:
            return ()
        secrets = self._all_secrets(endpoint)
        has_former = endpoint.former_until is not None and now < endpoint.former_until
        return secrets if has_former else secrets[:1]

    def _all_secrets(self, endpoint: Endpoint) -> tuple[Secret, ...]:
        if endpoint.material is None:
            raise IntegrityError("an endpoint's secrets are missing")
        place = endpoint_place(endpoint.tenant, endpoint.endpoint_id, endpoint.generation)
        return webhooks.taken_apart(open_material(self._records.keyring, endpoint.material, place))

    def _sealed(self, secrets: Sequence[Secret], tenant: str, endpoint_id: str, generation: int) -> bytes:
        place = endpoint_place(tenant, endpoint_id, generation)
        return seal_material(self._records.keyring, webhooks.joined(secrets), place)

    def _commit(
        self,
        kind: EventType,
        endpoint: Endpoint,
        by: Principal,
        now: datetime,
        *,
        details: Mapping[str, object] | None = None,
        beside: tuple[Put, ...] = (),
    ) -> None:
        event = Event(
            type=kind,
            time=now,
            tenant=endpoint.tenant,
            actor=by.actor,
            subjects=(endpoint.endpoint_id,),
            rows=(endpoint.endpoint_id,),
            details={} if details is None else details,
        )
        changes = ChangeSet(puts=(endpoint_put(endpoint),), events=(event,))
        self._records.commit(changes.with_rows(beside))


def _require_may_name(receiver: Receiver | None, by: Principal) -> None:
    """Who lets new secrets go somewhere could have any of them: that takes what issuing every key takes."""
    if receiver is None:
        return
    if not isinstance(receiver, Receiver):
        raise InvalidInputError("a receiver is a Receiver", field="receiver")
    by.require_grantable(("*",), KeyScope.FULL)
    require_usable(receiver.jwk)


def _require_same_kind(before: Endpoint, url: str) -> None:
    after = Destination.of(url)
    if after.is_webhook != before.destination.is_webhook or (
        not after.is_webhook and after.scheme != before.destination.scheme
    ):
        raise InvalidInputError(
            "an endpoint stays of the kind that it is: a webhook, mail, or a callable",
            field="url",
            fix="Make another endpoint for that URL, and delete this one.",
        )


def _public_half(signing: Signing | None, secret: Secret | None) -> bytes | None:
    return webhooks.public_key_of(secret) if signing is Signing.ED25519 and secret is not None else None


def _told(signing: Signing | None, secret: Secret | None) -> Secret | None:
    return webhooks.secret_text(secret) if signing is Signing.HMAC and secret is not None else None


def _filter_of(before: Endpoint, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Which events, where the changes say so: naming some ends all, and all ends some."""
    if not {"events", "every_event"} & changes.keys():
        return {}
    every_event = changes.get("every_event", "events" not in changes and before.every_event)
    events = changes.get("events", () if every_event else before.events)
    return {"every_event": every_event, "events": checked_events(events, every_event=every_event)}
