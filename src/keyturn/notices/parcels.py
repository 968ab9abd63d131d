"""New secrets on their way to an endpoint that has a receiver's key: encrypted to that key, and to nothing else.

A rotation whose secret waits to be picked up is delivered in its `rotation_started`, to one endpoint that is for the
key's owner. Once the receiver has answered 2xx the secret counts as picked up: it is kept nowhere any more.
"""

from __future__ import annotations

import logging
from typing import Final

from keyturn.audit.trail import KeyUsageEvent
from keyturn.crypto.jwe import encrypted
from keyturn.domain import canonical
from keyturn.domain.change import ChangeSet, Event, EventType
from keyturn.domain.notices.endpoint import Endpoint
from keyturn.domain.principal import SYSTEM_ACTOR
from keyturn.domain.secret import Secret
from keyturn.errors import IllegalTransitionError, NotFoundError
from keyturn.ports.clock import Clock
from keyturn.ports.waiting_secrets import Waiting, WaitingSecrets
from keyturn.records.records import Records

_log: Final = logging.getLogger("keyturn.notices")


class Parcels:
    """Seals secrets for endpoints, and says when they have arrived."""

    def __init__(self, *, secrets: WaitingSecrets, records: Records, clock: Clock) -> None:
        self._secrets = secrets
        self._records = records
        self._clock = clock

    def sealed(self, endpoint: Endpoint, event: KeyUsageEvent) -> str | None:
        """What of an entry goes to an endpoint encrypted, as JWE; None for nothing. The log says first that it goes."""
        found = self._found(endpoint, event)
        if found is None or endpoint.receiver is None:
            return None
        payload = {
            "key": found.secret.reveal(),
            "key_id": found.key_id,
            "version": found.version,
            "rotation_id": found.rotation_id,
            "tenant": event.tenant,
        }
        jwe = encrypted(endpoint.receiver.jwk, Secret(canonical.encode(payload)))
        sent = Event(
            type=EventType.SECRET_SENT,
            time=self._clock.now(),
            tenant=event.tenant,
            actor=SYSTEM_ACTOR,
            subjects=(found.key_id, found.rotation_id, endpoint.endpoint_id),
        )
        self._records.commit(ChangeSet(events=(sent,)))
        return jwe

    def arrived(self, event: KeyUsageEvent) -> None:
        """The receiver has the secret of this entry's rotation. Any error means that this is not written down yet."""
        rotation_id = _rotation_of(event)
        try:
            self._secrets.picked_up(event.tenant, rotation_id)
        except (IllegalTransitionError, NotFoundError) as error:
            # Somebody else was first, or it was rolled back meanwhile.
            _log.warning("the secret of %s has arrived, and is not awaited: %s", rotation_id, error)

    def _found(self, endpoint: Endpoint, event: KeyUsageEvent) -> Waiting | None:
        if endpoint.receiver is None or event.type != EventType.ROTATION_STARTED.value:
            return None
        found = self._secrets.waiting(event.tenant, _rotation_of(event))
        return found if found is not None and endpoint.receiver.takes(found.owner) else None


def _rotation_of(event: KeyUsageEvent) -> str:
    return event.subjects[1]
