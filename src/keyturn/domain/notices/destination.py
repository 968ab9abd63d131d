"""Where notices go: a URL, taken apart in one way only.

    Destination.of("https://example.org/hook").host          # example.org

What one parser takes for the host and another for the user is how guards are got around, so that nothing is left open:
no user, no fragment, no character outside visible ASCII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from keyturn.errors import InvalidInputError

MAX_URL_CHARACTERS: Final = 2_048
_MAX_PORT: Final = 65_535
_PORTS: Final = {"https": 443, "http": 80}
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = rf"(?=[A-Za-z0-9.-]{{1,253}}(?:[/:?]|\Z)){_LABEL}(?:\.{_LABEL})*"
_WEBHOOK: Final = re.compile(
    rf"(https?)://({_HOST}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::([0-9]{{1,5}}))?"
    r"((?:/[!$-;=?-Z_a-z~%@]*)?(?:\?[!$-;=?-Z_a-z~%@]*)?)"
)
# RFC 5321 without quoted local parts and address literals.
_MAIL: Final = re.compile(rf"mailto:([A-Za-z0-9!#$&'*+/=?^_`{{|}}~.-]{{1,64}}@{_HOST})")
_CALL: Final = re.compile(r"call:([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})")
_FIX: Final = (
    "Name a URL as https://host/path without user and fragment, mailto:name@host, or call:name of a callable."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A URL's parts.

    Attributes:
        scheme: `https`, `http`, `mailto` or `call`.
        host: of a webhook; an IPv6 address without its brackets.
        name: the address of `mailto`, or the callable's name.
        target: of a webhook: path and query, as they are requested.
    """

    scheme: str
    host: str = ""
    port: int = 0
    target: str = ""
    name: str = ""

    @property
    def is_webhook(self) -> bool:
        """Whether notices are sent over HTTP."""
        return self.scheme in _PORTS

    @property
    def authority(self) -> str:
        """The value of the Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> Destination:
        """The parts of a URL; InvalidInputError for one that is no destination."""
        if not isinstance(url, str) or len(url) > MAX_URL_CHARACTERS:
            raise InvalidInputError("the URL is no text, or too long", field="url", fix=_FIX)
        for scheme, pattern in (("mailto", _MAIL), ("call", _CALL)):
            if match := pattern.fullmatch(url):
                return cls(scheme=scheme, name=match[1])
        match = _WEBHOOK.fullmatch(url)
        port = None if match is None else int(match[3] or _PORTS[match[1]])
        if match is None or port is None or not 1 <= port <= _MAX_PORT:
            raise InvalidInputError("the URL is none that notices can go to", field="url", fix=_FIX)
        target = match[4] if match[4].startswith("/") else f"/{match[4]}"
        return cls(scheme=match[1], host=match[2].strip("[]").lower(), port=port, target=target)
