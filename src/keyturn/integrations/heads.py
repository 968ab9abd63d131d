"""What is looked at of a request: the fields that may carry a key, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, NamedTuple

from keyturn.domain.forwarded import TrustedProxies
from keyturn.domain.network import check_address
from keyturn.errors import InvalidInputError
from keyturn.serving.bearer import bearer_in
from keyturn.serving.refusals import NO_ADDRESS, NO_KEY, TWO_KEYS, RefusedError

_FIELDS: Final = (b"authorization", b"x-api-key", b"x-forwarded-for")


class Head(NamedTuple):
    """The values of three fields, each as often as it was sent, and the address of the connection's other end."""

    authorization: tuple[str, ...]
    api_key: tuple[str, ...]
    forwarded_for: tuple[str, ...]
    peer: str | None

    def __repr__(self) -> str:
        return "Head(***)"  # as of a Secret

    @property
    def token(self) -> str:
        """The one key that the request carries; RefusedError for none, and for two that differ."""
        found = {token for token in map(bearer_in, self.authorization) if token}
        found |= {value.strip(" \t") for value in self.api_key if value.strip(" \t")}
        if not found:
            raise RefusedError(NO_KEY)
        if len(found) > 1:
            # Which one counts would depend on who reads the request.
            raise RefusedError(TWO_KEYS)
        return found.pop()

    def client(self, proxies: TrustedProxies) -> str | None:
        """The client's address; RefusedError where a trusted proxy's word makes no sense."""
        try:
            return proxies.client(self.peer, self.forwarded_for)
        except InvalidInputError:
            raise RefusedError(NO_ADDRESS) from None


def asgi_head(scope: MutableMapping[str, Any]) -> Head:
    """The head of a request or a websocket's handshake, as ASGI has it."""
    found: dict[bytes, list[str]] = {field: [] for field in _FIELDS}
    for name, value in scope["headers"]:  # the protocol has them in lower case
        if name in found:
            found[name].append(value.decode("latin-1"))
    authorization, api_key, forwarded_for = map(tuple, found.values())
    client = scope.get("client")
    return Head(authorization, api_key, forwarded_for, _address(client[0] if client else ""))


def wsgi_head(environ: Mapping[str, Any]) -> Head:
    """The head of a request, as WSGI has it: fields that were sent twice are one, with commas between."""
    authorization, api_key, forwarded_for = (
        (str(environ[name]),) if name in environ else ()
        for name in ("HTTP_AUTHORIZATION", "HTTP_X_API_KEY", "HTTP_X_FORWARDED_FOR")
    )
    return Head(authorization, api_key, forwarded_for, _address(environ.get("REMOTE_ADDR", "")))


def _address(text: str) -> str | None:
    """An address without its zone, which means something on this machine only; None for what is no address."""
    try:
        return check_address(text.partition("%")[0])
    except InvalidInputError:
        return None
