"""What stands before an application, whatever its framework: requests go in, a Verification or a refusal comes out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, TypedDict, Unpack

from keyturn.domain.forwarded import TrustedProxies
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.secret import Secret
from keyturn.domain.token import MAX_TOKEN_CHARACTERS
from keyturn.domain.verdict import Code, Verification
from keyturn.errors import ConfigurationError, KeyturnError, StorageError
from keyturn.integrations.heads import Head
from keyturn.integrations.in_process import InProcess
from keyturn.integrations.required import Required
from keyturn.integrations.source import Source
from keyturn.key_store import SecureKeyStore
from keyturn.serving.refusals import REFUSALS, UNDECIDED, RefusedError
from keyturn.verifier.verifier import DEFAULT_MAX_STALENESS

_SERVERS: Final = ("http:", "https:")
_OF_ANY: Final = ("max_staleness", "trusted_proxies")
_OF_SERVERS: Final = frozenset(("key", *_OF_ANY))
_OF_STORES: Final = frozenset(("encryption_key", "tenant", *_OF_ANY))

_log = logging.getLogger("keyturn.integrations")


class GuardOptions(TypedDict, total=False):
    """How to verify, beside the URL; see Guard."""

    key: str | Secret
    encryption_key: bytes | str | Secret | None
    tenant: str
    max_staleness: float
    trusted_proxies: Sequence[str]


class Guard:
    """Decides on requests, with a store or a server.

    Args:
        url: a store's (``sqlite:///keys.db``, ``postgresql://...``), on which this process then verifies by itself; or
            a server's (``https://keys.example.com``), which is asked.
        key: for a server, a provisioning key that holds ``keys.verify``.
        encryption_key: for a store, as for SecureKeyStore; KEY_STORE_ENCRYPTION_KEY when absent.
        tenant: for a store, the namespace of the keys; a server takes that of `key`.
        max_staleness: seconds, 1 when absent. On a store, those within which a revocation made elsewhere holds here.
            With a server, those for which its answer may be used again, on top of the server's own; 0 to ask each time.
        trusted_proxies: addresses and networks of proxies whose X-Forwarded-For is believed; none when absent.

    Raises:
        ConfigurationError: the URL or an option makes no sense; a driver is missing.
    """

    def __init__(self, url: str, **options: Unpack[GuardOptions]) -> None:
        self._source = _source(url, options)
        self._proxies = TrustedProxies(options.get("trusted_proxies", ()))
        self._fails = False

    def check(self, head: Head, required: Required) -> Verification:
        """The decision on a request, when it passes; RefusedError when it does not. The calling thread waits."""
        token, ip = self._presented(head)
        try:
            answer = self._source.verify(token, required, ip)
        except KeyturnError as error:
            raise self._undecided(error) from None
        return self._passed(answer)

    async def check_async(self, head: Head, required: Required) -> Verification:
        """As `check`; the event loop never waits."""
        token, ip = self._presented(head)
        try:
            answer = await self._source.verify_async(token, required, ip)
        except KeyturnError as error:
            raise self._undecided(error) from None
        return self._passed(answer)

    @property
    def store(self) -> SecureKeyStore:
        """The store that is verified on, to issue and revoke with: what it does holds here when it returns.

        With a server ConfigurationError: use keyturn.Client.
        """
        return self._source.store

    async def start(self) -> None:
        """Open the store before there are requests. A store that does not answer now is opened by a later one.

        ConfigurationError or IntegrityError where waiting would not help.
        """
        try:
            await self._source.open()
        except StorageError as error:
            self._undecided(error)
        except KeyturnError as error:
            error.add_note(error.fix)  # for whoever reads the traceback of a server that does not start
            raise

    async def stop(self) -> None:
        """Write what was counted and let go of connections. At the latest this happens when the process ends."""
        await self._source.aclose()

    def close(self) -> None:
        """As `stop`, where there is no event loop."""
        self._source.close()

    def _presented(self, head: Head) -> tuple[str, str | None]:
        token = head.token
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise RefusedError(REFUSALS[Code.MALFORMED])
        return token, head.client(self._proxies)

    def _passed(self, answer: Verification) -> Verification:
        if self._fails:
            self._fails = False
            _log.warning("keys can be verified again")
        if not answer:
            raise RefusedError(REFUSALS[answer.reason])
        return answer

    def _undecided(self, error: KeyturnError) -> RefusedError:
        """The refusal of a request that could not be decided on. Why is for the log, once, and not for clients."""
        if not self._fails:
            self._fails = True
            _log.error("keys cannot be verified: %s %s", error, error.fix)
        return RefusedError(UNDECIDED)


def guard_of(guard: str | Guard, options: GuardOptions) -> Guard:
    """The guard, or the one that a URL and options make; ConfigurationError for options beside a guard."""
    if isinstance(guard, str):
        return Guard(guard, **options)
    if options:
        raise ConfigurationError(
            "a Guard has its options already", fix=f"Give {min(options)} where the Guard is made."
        )
    return guard


def _source(url: str, options: GuardOptions) -> Source:
    is_server = url.startswith(_SERVERS)
    what, known = ("a server", _OF_SERVERS) if is_server else ("a store", _OF_STORES)
    for name in options:
        if name not in known:
            raise ConfigurationError(
                f"{name} means nothing for the URL of {what}", fix=f"Known are: {', '.join(sorted(known))}."
            )
    max_staleness = options.get("max_staleness", DEFAULT_MAX_STALENESS)
    if not is_server:
        tenant, encryption_key = options.get("tenant", DEFAULT_TENANT), options.get("encryption_key")
        return InProcess(url, encryption_key=encryption_key, tenant=tenant, max_staleness=max_staleness)
    if "key" not in options:
        raise ConfigurationError(
            "a server answers only to a provisioning key", fix="Give key=, one that holds keys.verify."
        )
    from keyturn.integrations.remote import Remote  # noqa: PLC0415 - a store needs no HTTP client

    return Remote(url, key=options["key"], max_staleness=max_staleness)
