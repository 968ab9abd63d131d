"""Requests from inside the network: webhooks reach public addresses and those that are allowed, and no others."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.adapters.notifier.addresses import AddressGuard, BlockedAddressError, is_public
from keyturn.adapters.notifier.connecting import MAX_LOOK_UPS, resolved
from keyturn.adapters.notifier.webhook import MAX_HEAD_BYTES, WebhookNotifier
from keyturn.domain.notices.destination import Destination
from keyturn.errors import InvalidInputError
from keyturn.ports.notifier import Message, Outcome
from tests.notices.receiver import Receiver, receiving

LOCAL = ["127.0.0.0/8"]


def message(url: str) -> Message:
    return Message(
        to=Destination.of(url), id="msg_1", type="key_created", at=datetime.now(UTC), subjects=(), body=b"{}"
    )


# -- which addresses ------------------------------------------------------------------------------------------------

PRIVATE = (
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:1::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1", "ff02::1", "2001:db8::1",
    "3fff::1", "5f00::1", "100::1", "", "localhost", "1.2.3", "0x7f000001",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_no_public_address_is_refused(address: str) -> None:
    assert not is_public(address)
    guard = AddressGuard(resolve=lambda *_: [address])
    with pytest.raises(BlockedAddressError):
        guard.addresses_of("example.org", 443, monotonic() + 9, is_encrypted=True)


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed_over_tls_alone(address: str) -> None:
    guard = AddressGuard(resolve=lambda *_: [address])
    assert guard.addresses_of("example.org", 443, monotonic() + 9, is_encrypted=True) == [address]
    with pytest.raises(BlockedAddressError, match="TLS"):
        guard.addresses_of("example.org", 80, monotonic() + 9, is_encrypted=False)


def test_a_name_with_one_private_address_is_refused() -> None:
    guard = AddressGuard(resolve=lambda *_: ["1.1.1.1", "10.0.0.1"])
    with pytest.raises(BlockedAddressError):
        guard.addresses_of("example.org", 443, monotonic() + 9, is_encrypted=True)


def test_what_the_operator_allows_may_be_reached_without_tls() -> None:
    guard = AddressGuard(["10.1.0.0/16"], resolve=lambda *_: ["10.1.2.3"])
    assert guard.addresses_of("hooks.internal", 80, monotonic() + 9, is_encrypted=False) == ["10.1.2.3"]
    mapped = AddressGuard(["10.1.0.0/16"], resolve=lambda *_: ["::ffff:10.2.0.1"])
    with pytest.raises(BlockedAddressError):
        mapped.addresses_of("hooks.internal", 80, monotonic() + 9, is_encrypted=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::1]", "0"]
)
def test_every_way_to_write_this_machine_is_refused(host: str, receiver: Receiver) -> None:
    notifier = WebhookNotifier(AddressGuard())
    for scheme in ("http", "https"):
        outcome = notifier.deliver(message(f"{scheme}://{host}:{receiver.port}/"))
        assert not outcome.delivered
    assert receiver.got == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/", "file:///etc/passwd", "gopher://127.0.0.1:25/", "https://", "https:///path",
        "https://user@example.org/", "https://user:pw@example.org/", "https://example.org@127.0.0.1/",
        "https://example.org#@127.0.0.1/", "https://example.org/#fragment", "https://example.org\\@127.0.0.1/",
        "https://exa mple.org/", "https://example.org/a b", "https://example.org/\r\nX: y", "https://example.org/ä",
        "https://exämple.org/", "https://example.org:0/", "https://example.org:65536/", "https://example.org:/",
        "https://[::1/", "https://[fe80::1%25eth0]/", "https://example.org/" + "a" * 2_048, "//example.org/",
        "mailto:", "mailto:a@b@c", "mailto:a@b,c@d", "mailto:a@b?cc=c@d", "mailto:a\r\nBcc: x@y", "call:",
        "call:a/b", "", "https://a..b/", "https://.example.org/", "https://example.org./", "https://-a.org/",
        "https://a-.org/", f"https://{'a' * 64}.org/", "https://" + "a." * 127 + "org/", "mailto:a@b..c", "mailto:a@-b",
    ],
)  # fmt: skip
def test_what_two_parsers_might_read_in_two_ways_is_no_url(url: str) -> None:
    with pytest.raises(InvalidInputError):
        Destination.of(url)


@pytest.mark.parametrize("host", ["a", "a-b.c", f"{'a' * 63}.org", "a." * 126 + "a", "127.1", "[::1]"])
def test_hosts_that_there_may_be_are_taken(host: str) -> None:
    for tail in ("", ":8080", "/", "?x", ":8080/x"):
        assert Destination.of(f"https://{host}{tail}").host == host.strip("[]")
    if "[" not in host:
        assert Destination.of(f"mailto:a@{host}").name == f"a@{host}"


# -- what is connected to -------------------------------------------------------------------------------------------


def test_the_connection_goes_to_the_address_that_was_checked(receiver: Receiver) -> None:
    """A name that changes its address between check and connection (DNS rebinding) gains nothing."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    notifier = WebhookNotifier(AddressGuard(LOCAL, resolve=rebinding))
    url = f"http://hooks.example.org:{receiver.port}/hook"
    assert notifier.deliver(message(url)) == Outcome(True)
    assert asked == ["hooks.example.org"]
    assert receiver.got[0].fields["host"] == f"hooks.example.org:{receiver.port}"


def test_a_name_that_turns_private_is_refused_with_the_next_delivery(receiver: Receiver) -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    notifier = WebhookNotifier(AddressGuard(LOCAL, resolve=lambda *_: answers.pop(0)))
    url = f"http://hooks.example.org:{receiver.port}/"
    assert notifier.deliver(message(url)).delivered
    assert notifier.deliver(message(url)).why == (
        "without TLS, the URL has to lead to an address that is allowed"
    )
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    with receiving() as elsewhere:
        receiver.statuses, receiver.answer_fields = [status], {"Location": elsewhere.url}
        outcome = WebhookNotifier(AddressGuard(LOCAL)).deliver(message(receiver.url))
        assert not outcome.delivered
        assert outcome.why == f"the receiver answered {status}; redirects are not followed"
        assert elsewhere.got == []
    assert len(receiver.got) == 1


def test_each_address_of_a_name_is_tried(receiver: Receiver) -> None:
    notifier = WebhookNotifier(AddressGuard(LOCAL, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"]))
    with socket.socket() as taken:  # nobody accepts there
        taken.bind(("127.0.0.2", receiver.port))
        assert notifier.deliver(message(f"http://hooks.example.org:{receiver.port}/")) == Outcome(True)


def test_an_address_that_does_not_answer_leaves_time_for_the_next(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.2", receiver.port), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]  # a queue that is full takes no connection
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        guard = AddressGuard(LOCAL, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
        url = f"http://hooks.example.org:{receiver.port}/"
        assert WebhookNotifier(guard, seconds=4).deliver(message(url)) == Outcome(True)
        for each in waiting:
            each.close()


def test_a_resolver_that_does_not_answer_does_not_hold_us() -> None:
    goes_on = threading.Event()

    def hang(host: str, port: int) -> Sequence[str]:
        goes_on.wait(30)
        return ["127.0.0.1"]

    notifier, began = WebhookNotifier(AddressGuard(LOCAL, resolve=hang), seconds=0.3), monotonic()
    for _ in range(MAX_LOOK_UPS + 1):  # those that hang are bounded as well
        outcome = notifier.deliver(message("http://hooks.example.org/"))
        assert outcome == Outcome(False, "the receiver did not answer in time")
    assert monotonic() - began < 20
    assert sum(each.name == "keyturn-look-up" for each in threading.enumerate()) == MAX_LOOK_UPS
    goes_on.set()


# -- receivers that do harm -----------------------------------------------------------------------------------------


@contextmanager
def answering(act: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that does this with its one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.recv(65_536)
                    act(connection)
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join(10)


def outcome_of(act: Callable[[socket.socket], object], seconds: float = 15) -> Outcome:
    with answering(act) as url:
        return WebhookNotifier(AddressGuard(LOCAL), seconds=seconds).deliver(message(url))


def test_a_receiver_that_sends_a_byte_now_and_then_does_not_hold_us() -> None:
    def drip(connection: socket.socket) -> None:
        ended = threading.Event()
        for _ in range(100):
            connection.sendall(b"H")
            ended.wait(0.1)

    began = monotonic()
    assert outcome_of(drip, seconds=0.5) == Outcome(False, "the receiver did not answer in time")
    assert monotonic() - began < 5


def test_a_receiver_that_answers_without_end_is_read_to_a_bound() -> None:
    def flood(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000)

    assert outcome_of(flood) == Outcome(False, "the receiver's answer is no HTTP")


def test_interim_answers_without_end_are_read_to_a_bound() -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        while True:
            sent += connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)

    assert outcome_of(flood) == Outcome(False, "the receiver's answer is no HTTP")
    assert sent < 1_000 * MAX_HEAD_BYTES


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"\r\n\r\n"]
)
def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    assert not outcome_of(lambda connection: connection.sendall(answer)).delivered


def test_an_interim_answer_is_not_the_answer() -> None:
    told = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 500 no\r\n\r\n"
    assert outcome_of(lambda connection: connection.sendall(told)).why == "the receiver answered 500"


def test_nothing_of_an_answer_is_kept() -> None:
    """What a receiver inside the network answers would otherwise be read by whoever made the endpoint."""
    told = b"HTTP/1.1 500 internal-secret\r\nX: internal-secret\r\n\r\ninternal-secret"
    assert "secret" not in outcome_of(lambda connection: connection.sendall(told)).why


# -- TLS ------------------------------------------------------------------------------------------------------------


def identity(folder: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_over_tls_the_receiver_proves_the_name_of_the_url(tmp_path: Path) -> None:
    path = identity(tmp_path, "hooks.example.org")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    guard = AddressGuard(LOCAL, resolve=lambda *_: ["127.0.0.1"])
    trusting = WebhookNotifier(guard, tls=ssl.create_default_context(cafile=path))
    with receiving(server) as receiver:
        assert trusting.deliver(message(f"https://hooks.example.org:{receiver.port}/")) == Outcome(True)
        refused = Outcome(False, "the receiver's certificate does not hold")
        assert trusting.deliver(message(f"https://other.example.org:{receiver.port}/")) == refused
        strangers = WebhookNotifier(guard)
        assert strangers.deliver(message(f"https://hooks.example.org:{receiver.port}/")) == refused
        assert len(receiver.got) == 1


def test_the_systems_resolver_gives_each_address_once() -> None:
    found = resolved("127.0.0.1", 80)
    assert list(found) == ["127.0.0.1"]
