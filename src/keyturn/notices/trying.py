"""Trying an endpoint out: a notice of nothing, signed as any other, sent now and once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keyturn.crypto.randomness import random_base62
from keyturn.domain.ids import ID_CHARACTERS
from keyturn.domain.principal import Principal
from keyturn.errors import ConfigurationError
from keyturn.notices.endpoints import Endpoints
from keyturn.notices.messages import notice_body, signed_message
from keyturn.ports.clock import Clock
from keyturn.ports.notifier import Notifier, Outcome

TYPE: Final = "endpoint_tested"
"""The type of such a notice, which no entry of the log has."""


class Trials:
    """Sends them."""

    def __init__(self, *, endpoints: Endpoints, clock: Clock) -> None:
        self._endpoints = endpoints
        self._clock = clock

    def tell(self, endpoint_id: str, by: Principal, notifiers: Mapping[str, Notifier]) -> Outcome:
        """What becomes of a notice to an endpoint, whatever it is told of otherwise, and be it paused.

        NotFoundError as for the endpoint; ConfigurationError where this process has no way to deliver there.
        """
        endpoint, now = self._endpoints.get(endpoint_id, by), self._clock.now()
        notifier = notifiers.get(endpoint.destination.scheme)
        if notifier is None or not notifier.takes(endpoint.destination):
            raise ConfigurationError(
                f"this process cannot deliver to {endpoint.destination.scheme}: URLs",
                fix="For mailto: set KEYTURN_SMTP and KEYTURN_SMTP_FROM; a call: is made where its callable is.",
            )
        data = {
            "tenant": endpoint.tenant,
            "actor": by.actor,
            "subjects": [endpoint_id],
            "details": {},
        }
        return notifier.deliver(
            signed_message(
                endpoint,
                self._endpoints.secrets(endpoint, now),
                f"msg_test_{random_base62(ID_CHARACTERS)}",
                TYPE,
                subjects=(endpoint_id,),
                at=now,
                body=notice_body(TYPE, now, data),
                now=now,
            )
        )
