"""What a gateway is answered: a status that it understands, and fields that it may pass on.

Their values are visible ASCII, whatever an owner is called: anything else is percent-encoded, `%` included, so that
`unquote` gives it back and nobody's name ends a field or begins another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote

from keyturn.domain.verdict import Code, Presented, Verification
from keyturn.server.exchange import Send
from keyturn.server.problems import CONTENT_TYPE, encoded, problem
from keyturn.serving.refusals import REFUSALS, Refusal
from keyturn.verifier.entries import Entry

MAX_PERMISSIONS: Final = 2_048  # characters of X-Keyturn-Permissions; gateways keep all fields in some 4 KiB
_MAX_SHARED: Final = 4_096

_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
_AS_IT_IS: Final = re.compile(r"[!-$&-~]+")
_REALM: Final = "keyturn"


class Reply(NamedTuple):
    """An answer, ready to be sent. `head` is its header fields, each with its line's end."""

    status: int
    head: bytes
    body: bytes


async def send_reply(send: Send, reply: Reply) -> None:
    """Answer over ASGI."""
    lines = (line.partition(b": ") for line in reply.head.split(b"\r\n")[:-1])
    headers = [(name, value) for name, _, value in lines]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def answer_to(verification: Verification) -> Reply:
    """What a decision on a client's key means to a gateway."""
    as_of = verification.as_of.encode("ascii")
    key = verification.presented
    if verification:
        assert isinstance(key, Entry)
        if (
            key.passing is None
        ):  # all but as_of is the same each time, so it is written once, and kept with it
            key.passing = f"{_GRANTED}{_named(key)}{_granted(key)}".encode("ascii")
        return Reply(200, b"%sx-keyturn-as-of: %s\r\n" % (key.passing, as_of), b"")
    refused = _REFUSALS[verification.reason]
    named = b"" if key is None else _named(key).encode("ascii")
    return refused._replace(head=b"%s%sx-keyturn-as-of: %s\r\n" % (refused.head, named, as_of))


def refusal(status: int, code: str, detail: str, fix: str, headers: Mapping[str, str]) -> Reply:
    """An answer that is no 200, as a problem."""
    body = encoded(problem(status, code, detail, fix))
    fields = {
        "content-type": CONTENT_TYPE,
        "content-length": str(len(body)),
        "x-keyturn-valid": "false",
        "x-keyturn-code": code,
        **{name.lower(): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return Reply(status, head.encode("ascii"), body)


_GRANTED: Final = "content-length: 0\r\nx-keyturn-valid: true\r\nx-keyturn-code: valid\r\n"


def _named(key: Presented) -> str:
    """What is said of a refused key as well, for the gateway's own log."""
    return f"x-keyturn-key-id: {key.key_id}\r\nx-keyturn-version: {key.version}\r\n"


def _granted(key: Presented) -> str:
    """What is said of a valid key, for the application behind the gateway."""
    owner = "" if key.owner is None else f"x-keyturn-owner: {visible(key.owner)}\r\n"
    return f"x-keyturn-scope: {key.scope.value}\r\n{owner}{_permissions(key.permissions)}"


def visible(text: str) -> str:
    """The text in visible ASCII: anything else, and `%`, is percent-encoded."""
    return text if _AS_IT_IS.fullmatch(text) else quote(text, safe=_VISIBLE)


@lru_cache(maxsize=_MAX_SHARED)
def _permissions(grants: tuple[str, ...]) -> str:
    """Grants with spaces between; nothing where they are too many: half of them would be another list."""
    text = " ".join(grants)
    return f"x-keyturn-permissions: {text}\r\n" if 0 < len(text) <= MAX_PERMISSIONS else ""


def reply_to(refused: Refusal) -> Reply:
    """A refusal that has to do with the client's key."""
    headers = dict(refused.headers_in(_REALM))
    return refusal(refused.status, refused.code, refused.detail, refused.fix, headers)


_REFUSALS: Final[dict[Code, Reply]] = {code: reply_to(refused) for code, refused in REFUSALS.items()}
