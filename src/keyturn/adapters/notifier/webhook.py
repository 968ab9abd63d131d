"""Notices by HTTP: one POST to the address that was checked, no redirects, and little of the answer read.

HTTP by hand, because what is wanted of it is so little, and because each library resolves the name itself, follows
where an answer leads, or waits as long as bytes keep coming.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Sequence
from time import monotonic
from typing import Final

from keyturn.adapters.notifier.addresses import AddressGuard, BlockedAddressError
from keyturn.adapters.notifier.connecting import connected, left
from keyturn.domain.notices.destination import Destination
from keyturn.ports.notifier import SECONDS, Message, Notifier, Outcome

MAX_HEAD_BYTES: Final = 16_384
MAX_WAIT: Final = 86_400  # seconds that a receiver may ask for
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_RETRY_AFTER: Final = re.compile(rb"\r?\nretry-after:[ \t]*([0-9]{1,9})[ \t]*\r?\n", re.IGNORECASE)
_GONE: Final = 410


class WebhookNotifier:
    """Sends notices to `https:` and `http:` URLs.

    Args:
        guard: which addresses may be connected to.
        tls: how receivers prove who they are; the system's authorities where absent.
    """

    def __init__(
        self, guard: AddressGuard, *, tls: ssl.SSLContext | None = None, seconds: float = SECONDS
    ) -> None:
        self._guard = guard
        self._tls = ssl.create_default_context() if tls is None else tls
        self._seconds = seconds

    def takes(self, to: Destination) -> bool:
        return to.is_webhook

    def deliver(self, message: Message) -> Outcome:
        """POST the notice; it is delivered when the receiver answers 2xx."""
        deadline = monotonic() + self._seconds
        try:
            with self._connected(message.to, deadline) as connection:
                connection.settimeout(left(deadline))
                connection.sendall(_request(message))
                return _outcome(_final_head(connection, deadline))
        except BlockedAddressError as error:
            return Outcome(False, str(error))
        except TimeoutError:
            return Outcome(False, "the receiver did not answer in time")
        except ssl.SSLCertVerificationError:
            return Outcome(False, "the receiver's certificate does not hold")
        except ssl.SSLError:
            return Outcome(False, "the TLS connection failed")
        except OSError as error:
            return Outcome(False, f"the receiver could not be reached: {type(error).__name__}")
        except ValueError:
            return Outcome(False, "the receiver's answer is no HTTP")

    def _connected(self, to: Destination, deadline: float) -> socket.socket:
        is_encrypted = to.scheme == "https"
        addresses = self._guard.addresses_of(to.host, to.port, deadline, is_encrypted=is_encrypted)
        connection = connected(addresses, to.port, deadline)
        if not is_encrypted:
            return connection
        try:
            connection.settimeout(left(deadline))
            return self._tls.wrap_socket(connection, server_hostname=to.host)
        except BaseException:
            connection.close()
            raise


def webhook_notifiers(allowed: Sequence[str]) -> dict[str, Notifier]:
    """By scheme what sends webhooks to public addresses over TLS, and to the allowed networks."""
    notifier = WebhookNotifier(AddressGuard(allowed))
    return {"https": notifier, "http": notifier}


def _request(message: Message) -> bytes:
    fields = {
        "Host": message.to.authority,
        "Content-Type": "application/json",
        "Content-Length": str(len(message.body)),
        "User-Agent": "Keyturn-Notices",
        "Connection": "close",
        **message.fields,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {message.to.target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + message.body


def _final_head(connection: socket.socket, deadline: float) -> bytes:
    """Status line and fields of the answer; ValueError for what is none, or is too long."""
    received, room = b"", MAX_HEAD_BYTES
    while True:
        head, end, rest = received.partition(b"\r\n\r\n")
        if end and not head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
            return head + end
        if end:  # an interim answer (RFC 9110, section 15.2)
            received = rest
            continue
        if room <= 0:  # interim answers and all
            raise ValueError("too long")
        # The time that is left, not so much for each read: who sends a byte now and then would hold this for ever.
        connection.settimeout(left(deadline))
        more = connection.recv(4_096)
        if not more:
            raise ValueError("cut off")
        received += more
        room -= len(more)


def _outcome(head: bytes) -> Outcome:
    match = _STATUS.match(head)
    if match is None:
        raise ValueError("no status line")
    status = int(match[1])
    if 200 <= status < 300:  # noqa: PLR2004 - as RFC 9110 has them
        return Outcome(True)
    asked = _RETRY_AFTER.search(head)
    wait = min(int(asked[1]), MAX_WAIT) if asked else 0
    why = f"the receiver answered {status}"
    if 300 <= status < 400:  # noqa: PLR2004
        why += "; redirects are not followed"
    return Outcome(False, why, wait, is_final=status == _GONE)
