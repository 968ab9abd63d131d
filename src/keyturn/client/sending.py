"""Requests over pooled connections: bounded in time and size, and sent again only where that is safe."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from math import inf
from time import monotonic, sleep
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from keyturn.client.answers import error_of, read
from keyturn.domain.secret import Secret
from keyturn.errors import (
    ConfigurationError,
    KeyturnError,
    OutcomeUnknownError,
    PoolEmptyError,
    StorageError,
    ThrottledError,
)

CONNECT_SECONDS: Final = 5.0  # at most, for one connection
MAX_CONNECTIONS: Final = 64
MAX_ANSWER_BYTES: Final = 67_108_864  # 1,000 keys, each with all the metadata that it may have
ATTEMPTS: Final = 3
MAX_PAUSE: Final = 2.0  # seconds before another attempt, whatever Retry-After asks for
_FIRST_PAUSE: Final = 0.1
_VISIBLE: Final = re.compile(rb"[!-~]+")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_UNAVAILABLE: Final = 503
# Nothing of the request has left this machine.
NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the API. `is_safe` where it changes nothing, so that sending it twice does not matter."""

    method: str
    path: str
    is_safe: bool
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def check_server(url: str) -> str:
    """A server's URL without a slash at its end; ConfigurationError for anything else."""
    try:
        parts = urlsplit(url)
        is_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_server = False
    # A secret in a URL ends up in logs; the query would be lost.
    if not is_server or parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "not the URL of a server", fix="Write it as https://keys.example.com or http://127.0.0.1:8700."
        )
    return url.rstrip("/")


def check_caller(key: str | Secret) -> Secret:
    """A provisioning key as a Secret; ConfigurationError for what no header can hold. It is never repeated."""
    secret = key if isinstance(key, Secret) else Secret(key)
    if not is_visible(secret.reveal_bytes()):
        raise ConfigurationError(
            "the provisioning key is no token",
            fix="Give the whole token, without spaces or a line break around it.",
        )
    return secret


def is_visible(text: bytes) -> bool:
    """Whether a header can hold it: at least one character, all of them visible ones of ASCII."""
    return _VISIBLE.fullmatch(text) is not None


class _Caller(httpx.Auth):
    """Puts the caller's key into a request, and nowhere before that."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Called by httpx for each request."""
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        yield request


def pool_settings(url: str, key: str | Secret, timeout: float) -> dict[str, Any]:
    """What httpx's pools are made with. Redirects are not followed: they would take the key elsewhere."""
    return {
        "base_url": check_server(url),
        "auth": _Caller(check_caller(key)),
        "verify": httpx.create_ssl_context(),  # once: it reads all the certificates
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        "limits": httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        "follow_redirects": False,
    }


def unreachable(error: Exception) -> StorageError:
    """The error to raise where a server was not reached, or did not answer a call that changes nothing."""
    return StorageError(
        f"the Keyturn server did not answer: {type(error).__name__} {error}".rstrip(),
        fix="Check that the server is running, that its URL is right and that this machine reaches it.",
    )


class Sender:
    """Sends calls from any number of threads. A forked child gets connections of its own."""

    def __init__(self, settings: dict[str, Any], timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout
        self._pool = httpx.Client(**self._settings)
        self._pid = os.getpid()
        self._inherited: list[httpx.Client] = []

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def send(self, call: Call) -> Any:
        """The JSON of the answer.

        KeyturnError for what the server refuses; StorageError where it is not reached; OutcomeUnknownError where the
        answer to a change was lost.
        """
        return self.send_tagged(call)[0]

    def send_tagged(self, call: Call) -> tuple[Any, str]:
        """The same, and the answer's ETag; empty where it has none."""
        failure: KeyturnError = StorageError("nothing was sent")
        for attempt in range(ATTEMPTS):
            pause = _FIRST_PAUSE * 2**attempt
            try:
                status, headers, content = self.exchange(call)
            except httpx.RequestError as error:
                if not call.is_safe and not isinstance(error, NOT_SENT):
                    raise _lost(error) from None
                failure = unreachable(error)
            else:
                after = _retry_after(headers)
                if status != _UNAVAILABLE or after is None or not call.is_safe:
                    return _answered(status, content, after), headers.get("etag", "")
                failure, pause = error_of(status, content), min(after, MAX_PAUSE)
            if attempt + 1 < ATTEMPTS:
                sleep(pause)
        raise failure

    def exchange(self, call: Call) -> tuple[int, httpx.Headers, bytes]:
        """Send a call once: status, header fields and body of the answer. It raises what httpx raises."""
        if self._pid != os.getpid():
            # Both processes would read answers from one socket. The parent's connections are left as they are.
            self._inherited.append(self._pool)
            self._pool, self._pid = httpx.Client(**self._settings), os.getpid()
        request = self._pool.build_request(
            call.method, call.path, params=call.query or None, json=call.body, headers=call.headers
        )
        deadline = monotonic() + self._timeout
        response = self._pool.send(request, stream=True)
        try:
            gather = Gathering(deadline)
            for part in response.iter_bytes():
                gather(part)
            return response.status_code, response.headers, gather.content
        finally:
            response.close()


class Gathering:
    """The parts of an answer, up to a size and a time: `iter_bytes` itself would wait for each part anew."""

    def __init__(self, deadline: float = inf) -> None:
        self._deadline = deadline
        self._parts = bytearray()

    def __call__(self, part: bytes) -> None:
        """Take in a part; httpx's ReadTimeout or ReadError past the bounds."""
        if monotonic() > self._deadline:
            raise httpx.ReadTimeout("the answer did not end in time")
        self._parts += part
        if len(self._parts) > MAX_ANSWER_BYTES:
            raise httpx.ReadError(f"the answer has more than {MAX_ANSWER_BYTES:,} bytes")

    @property
    def content(self) -> bytes:
        """All of them."""
        return bytes(self._parts)


def _answered(status: int, content: bytes, after: float | None) -> Any:
    try:
        return read(status, content)
    except (ThrottledError, PoolEmptyError) as error:
        if after is not None:
            error.retry_after = int(after)
        raise


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if _SECONDS.fullmatch(text) else None


def _lost(error: Exception) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"the answer of the Keyturn server was lost: {type(error).__name__} {error}".rstrip(),
        fix="The change may have been made: look at the key before you try again.",
    )
