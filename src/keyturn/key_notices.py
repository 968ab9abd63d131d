"""Notices in Python: whom the log is told to, and delivering it.

notices = KeyNotices(store, callables={"audit": lambda message: archive(message.id, message.body)})
made = notices.create_endpoint("https://hooks.example.org/keyturn", events=["rotation_started"])
notices.create_endpoint("call:audit", every_event=True)
notices.deliver()                     # from time to time; `keyturn serve` does it by itself, but for callables
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from keyturn.adapters.notifier.calling import CallingNotifier, Receive
from keyturn.adapters.notifier.smtp import MailNotifier, MailServer
from keyturn.adapters.notifier.webhook import webhook_notifiers
from keyturn.domain.notices.announcements import Terms
from keyturn.domain.notices.deliveries import Deliveries
from keyturn.domain.notices.endpoint import Endpoint, Signing
from keyturn.domain.notices.receiver import Receiver
from keyturn.issuing.cursors import DEFAULT_LIMIT
from keyturn.key_store import SecureKeyStore
from keyturn.notices.endpoints import DEFAULT_OVERLAP, EndpointPage, Revealed
from keyturn.notices.telling import Delivery
from keyturn.ports.notifier import Outcome

__all__ = ["KeyNotices", "MailServer", "Outcome", "Receiver", "Revealed", "Signing", "Terms"]


class KeyNotices:
    """Endpoints of a store's tenant, and deliveries by this process, which are those of every tenant.

    Args:
        store: an open store.
        callables: functions by the name that stands in `call:` URLs; each takes a
            `keyturn.ports.notifier.Message`, and what it raises is a failure that is tried again.
        allow: networks that webhooks may go to, though they are not public, and without TLS.
        mail: where mail is handed in; without it `mailto:` endpoints wait for a process that has it.
    """

    def __init__(
        self,
        store: SecureKeyStore,
        *,
        callables: Mapping[str, Receive] | None = None,
        allow: Sequence[str] = (),
        mail: MailServer | None = None,
    ) -> None:
        self._store = store
        self._notifiers = webhook_notifiers(allow)
        if callables:
            self._notifiers["call"] = CallingNotifier(callables)
        if mail is not None:
            self._notifiers["mailto"] = MailNotifier(mail)

    def create_endpoint(
        self,
        url: str,
        *,
        events: Collection[str] = (),
        every_event: bool = False,
        signing: Signing | None = None,
        receiver: Receiver | None = None,
    ) -> Revealed:
        """Tell a URL of what happens from now on; `.secret` is its signing secret, which is shown this once.

        With a `receiver` the new secrets of rotations go there as well, encrypted to its public key.

        InvalidInputError for a URL, an event or a key that is none, or without both events and `every_event`.
        """
        services, by = self._store.notices()
        return services.endpoints.create(
            url, by, events=events, every_event=every_event, signing=signing, receiver=receiver
        )

    def update_endpoint(self, endpoint_id: str, **changes: Any) -> Endpoint:
        """The endpoint with another `url`, `events`, `every_event`, `is_paused` or `receiver`."""
        services, by = self._store.notices()
        return services.endpoints.update(endpoint_id, by, changes)

    def rotate_endpoint_secret(self, endpoint_id: str, *, overlap: int = DEFAULT_OVERLAP) -> Revealed:
        """A new signing secret; for `overlap` seconds (a day; at most 30) the one before signs as well."""
        services, by = self._store.notices()
        return services.endpoints.rotate_secret(endpoint_id, by, overlap=overlap)

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Tell an endpoint nothing more."""
        services, by = self._store.notices()
        services.endpoints.delete(endpoint_id, by)

    def list_endpoints(self, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> EndpointPage:
        """Endpoints, newest first; `limit` is 1 to 1,000."""
        services, by = self._store.notices()
        return services.endpoints.list(by, limit=limit, cursor=cursor)

    def deliveries(self, endpoint_id: str) -> Deliveries:
        """What is pending, what was given up (`.dead`), and the latest 100 that were delivered."""
        services, by = self._store.notices()
        return services.redelivery.deliveries(endpoint_id, by)

    def redeliver(self, endpoint_id: str, positions: Collection[int] | None = None) -> Deliveries:
        """Have these positions of the log delivered again; all that were given up where none are named."""
        services, by = self._store.notices()
        return services.redelivery.redeliver(endpoint_id, by, positions)

    def dismiss(self, endpoint_id: str, positions: Collection[int] | None = None) -> Deliveries:
        """Forget these deliveries that were given up, or all: they make room, and are not made any more."""
        services, by = self._store.notices()
        return services.redelivery.dismiss(endpoint_id, by, positions)

    def test_endpoint(self, endpoint_id: str) -> Outcome:
        """Send a notice of the type ``endpoint_tested`` now, once, and say what became of it.

        ConfigurationError where this process has no way to deliver there.
        """
        services, by = self._store.notices()
        return services.trials.tell(endpoint_id, by, self._notifiers)

    def deliver(self) -> list[Delivery]:
        """Attempt what is due, and give each attempt. Any number of processes may do so."""
        services, _ = self._store.notices()
        return list(services.deliverer.work(self._notifiers))
