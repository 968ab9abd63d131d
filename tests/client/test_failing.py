"""What a client does when the server refuses, fails, is gone, or is no Keyturn server: errors of one tree, in time."""

from __future__ import annotations

import os
import socket
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from keyturn import Client, KeyturnError
from keyturn.client import sending
from keyturn.client.sending import ATTEMPTS
from keyturn.errors import (
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    IdempotencyMismatchError,
    IllegalTransitionError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    NotRecoverableError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StaleError,
    StorageError,
    StorageFullError,
    ThrottledError,
    UnauthenticatedError,
)
from tests.client.scripted import CLOSE, HANG, Scripted, answer, problem
from tests.free_ports import free_port
from tests.http.served import UNKNOWN_ID, Served, unknown_token
from tests.running_server import RunningServer

KEY = unknown_token()
REFUSED = {"valid": False, "code": "revoked", "key_id": None, "version": None, "owner": None, "scope": None,
           "permissions": [], "metadata": {}, "expires_at": None, "rate_limits": [], "credits": None,
           "as_of": "log:1"}  # fmt: skip


# -- what the server refuses


def test_problems_of_a_real_server_are_errors_of_the_library(client: Client, served: Served) -> None:
    with pytest.raises(NotFoundError) as missing:
        client.get_key(UNKNOWN_ID)
    assert missing.value.fix
    with pytest.raises(InvalidInputError) as invalid:
        client.issue_key(prefix="NOT A PREFIX")
    assert (invalid.value.field, bool(invalid.value.fix)) == ("prefix", True)
    ended = client.issue_key().key_id
    client.revoke_key(ended)
    with pytest.raises(IllegalTransitionError):
        client.resume_key(ended)
    with Client(served.server.url, served.provision("keys.read")) as reader, pytest.raises(ForbiddenError):
        reader.issue_key()
    with Client(served.server.url, served.issue()["key"]) as nobody, pytest.raises(UnauthenticatedError):
        nobody.list_keys()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (problem(409, "conflict"), ConflictError),
        (problem(409, "illegal_transition"), IllegalTransitionError),
        (problem(409, "not_recoverable"), NotRecoverableError),
        (problem(412, "precondition_failed"), PreconditionFailedError),
        (problem(422, "idempotency_mismatch"), IdempotencyMismatchError),
        (problem(503, "integrity_failed"), IntegrityError),
        (problem(503, "stale"), StaleError),
        (problem(503, "storage_full"), StorageFullError),
        (problem(429, "throttled"), ThrottledError),
        # Codes that this library does not know, by their status.
        (problem(422, "from_the_future"), InvalidInputError),
        (problem(412, "from_the_future"), PreconditionFailedError),
        (problem(429, "from_the_future"), ThrottledError),
        (problem(418, "teapot"), InvalidInputError),
        (problem(500, "from_the_future"), StorageError),
        (answer(502, "<html>Bad Gateway</html>", content_type="text/html"), StorageError),
        (answer(404, "[]"), NotFoundError),
    ],
)
def test_each_problem_is_raised_as_its_kind_of_error(said: bytes, kind: type[KeyturnError]) -> None:
    with Scripted(said) as peer, Client(peer.url, KEY) as client, pytest.raises(KeyturnError) as raised:
        client.get_key(UNKNOWN_ID)
    assert type(raised.value) is kind
    assert raised.value.fix
    assert len(peer.requests) == 1


def test_an_unknown_problem_is_named(client: Client) -> None:
    with Scripted(problem(422, "from_the_future")) as peer, Client(peer.url, KEY) as asking:
        with pytest.raises(InvalidInputError, match=r"it says \(from_the_future\)") as raised:
            asking.get_key(UNKNOWN_ID)
        assert raised.value.fix == "do this"


def test_how_long_to_wait_is_passed_on() -> None:
    waiting = problem(429, "throttled", Retry_After="7")
    with (
        Scripted(waiting) as peer,
        Client(peer.url, KEY) as client,
        pytest.raises(ThrottledError) as throttled,
    ):
        client.get_key(UNKNOWN_ID)
    assert throttled.value.retry_after == 7


@pytest.mark.parametrize("said", ["", "soon", "-1", "1.5", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_time_to_wait_that_makes_no_sense_is_none(said: str) -> None:
    waiting = problem(429, "throttled", Retry_After=said)
    with (
        Scripted(waiting) as peer,
        Client(peer.url, KEY) as client,
        pytest.raises(ThrottledError) as throttled,
    ):
        client.get_key(UNKNOWN_ID)
    assert throttled.value.retry_after == 1


def test_a_failure_in_nonsense_is_an_error_of_the_library() -> None:
    with (
        Scripted(answer(500, "[" * 100_000)) as peer,
        Client(peer.url, KEY) as client,
        pytest.raises(StorageError),
    ):
        client.get_key(UNKNOWN_ID)


# -- what is tried again


def test_a_server_that_is_busy_for_a_moment_is_asked_again_where_nothing_changes() -> None:
    busy = problem(503, "stale", Retry_After="0")
    with Scripted(busy, busy, answer(200, REFUSED)) as peer, Client(peer.url, KEY) as client:
        assert client.verify("token").code == "revoked"
        assert len(peer.requests) == 3


def test_a_server_that_stays_busy_is_asked_a_few_times_and_no_more() -> None:
    with Scripted(problem(503, "stale", Retry_After="0")) as peer, Client(peer.url, KEY) as client:
        with pytest.raises(StaleError):
            client.get_key(UNKNOWN_ID)
        assert len(peer.requests) == ATTEMPTS


def test_a_change_is_never_sent_twice() -> None:
    with (
        Scripted(problem(503, "storage_unavailable", Retry_After="0")) as peer,
        Client(peer.url, KEY) as client,
    ):
        with pytest.raises(StorageError):
            client.issue_key()
        assert len(peer.requests) == 1
    with Scripted(CLOSE) as peer, Client(peer.url, KEY) as client:
        with pytest.raises(OutcomeUnknownError) as lost:
            client.revoke_key(UNKNOWN_ID)
        assert "look at the key" in lost.value.fix
        assert len(peer.requests) == 1


def test_a_read_whose_answer_was_lost_is_sent_again() -> None:
    with Scripted(CLOSE, answer(200, REFUSED)) as peer, Client(peer.url, KEY) as client:
        assert client.verify("token").code == "revoked"
        assert len(peer.requests) == 2


def test_what_could_not_be_sent_is_sent_again_even_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a server is started again: its port refuses, and then it does not."""
    peer = Scripted(problem(422, "invalid_request"), port=free_port())
    pauses: list[float] = []

    def start_meanwhile(pause: float) -> None:
        pauses.append(pause)
        if len(pauses) == 2:
            peer.__enter__()

    with ExitStack() as resources, Client(f"http://127.0.0.1:{peer.port}", KEY) as client:
        resources.push(peer)
        monkeypatch.setattr(sending, "sleep", start_meanwhile)
        with pytest.raises(InvalidInputError, match="it says"):
            client.issue_key()
        assert len(peer.requests) == 1
    assert len(pauses) == 2


def test_a_server_that_is_gone_is_an_error_whose_outcome_is_known() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", KEY) as client, pytest.raises(StorageError) as gone:
        client.issue_key()
    assert type(gone.value) is StorageError, "nothing was sent"
    assert "running" in gone.value.fix


def test_a_server_that_does_not_answer_is_given_up_in_time(tmp_path: Path) -> None:
    with Scripted(HANG) as peer, Client(peer.url, KEY, timeout=0.2) as client:
        with pytest.raises(OutcomeUnknownError):
            client.issue_key()
        with pytest.raises(StorageError):
            client.get_key(UNKNOWN_ID)
        assert len(peer.requests) == 1 + ATTEMPTS


def test_a_client_goes_on_when_its_server_is_back(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'keys.db'}"
    with (
        RunningServer(store, KEYTURN_PORT=str(free_port())) as server,
        Client(server.url, server.first_key) as client,
    ):
        key_id = client.issue_key().key_id
        server.kill()
        with pytest.raises(StorageError):
            client.get_key(key_id)
        server.start()
        assert client.get_key(key_id).key_id == key_id


# -- what is no answer


@pytest.mark.parametrize(
    "body",
    [
        "not JSON", "null", "[]", "7", "{}", "[" * 100_000,
        {**REFUSED, "valid": True},
        {**REFUSED, "code": "valid"},
        {**REFUSED, "valid": 1, "code": "valid"},
        {**REFUSED, "valid": "true", "code": "valid"},
        {**REFUSED, "code": "from_the_future"},
        {**REFUSED, "valid": True, "code": "from_the_future"},
        {name: value for name, value in REFUSED.items() if name != "valid"},
        {**REFUSED, "valid": True, "code": "valid", "key_id": "key", "scope": "everything"},
    ],
)  # fmt: skip
def test_what_does_not_read_as_an_answer_is_never_a_yes(body: object) -> None:
    with (
        Scripted(answer(200, body)) as peer,
        Client(peer.url, KEY) as client,
        pytest.raises(ConfigurationError),
    ):
        client.verify("token")


def test_an_answer_too_few_is_no_answer() -> None:
    too_few = answer(200, {"items": [REFUSED]})
    with Scripted(too_few) as peer, Client(peer.url, KEY) as client, pytest.raises(ConfigurationError):
        client.verify_many([{"key": "a"}, {"key": "b"}])


def test_a_redirect_is_not_followed() -> None:
    """It would take the caller's key, and the tokens of clients, wherever it says."""
    with (
        Scripted(answer(200, REFUSED)) as elsewhere,
        Scripted(answer(307, "", Location=elsewhere.url)) as peer,
    ):
        with Client(peer.url, KEY) as client, pytest.raises(ConfigurationError, match="307") as raised:
            client.verify("token")
        assert elsewhere.requests == []
        assert "https://" in raised.value.fix, "the URL is to be mended, and not what was asked"


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_nests_without_end_is_an_error_of_the_library(status: int) -> None:
    with (
        Scripted(answer(status, "[" * 200_000)) as peer,
        Client(peer.url, KEY) as client,
        pytest.raises(KeyturnError),
    ):
        client.verify("token")


# -- what it keeps to itself


@pytest.mark.parametrize(
    "url", ["", "keys.example.com", "ftp://x", "http://", "https://user:secret@x", "http://x?a=b", "http://x#y",
            "http://[", "sqlite:///keys.db", "http://x:99999"],
)  # fmt: skip
def test_what_is_no_servers_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Client(url, KEY)
    assert "secret" not in str(refused.value)
    assert "https://" in refused.value.fix


@pytest.mark.parametrize(
    "key",
    ["", " ", f"{KEY}\n", f"{KEY} ", f"{KEY}\r\nX: y", "schlüssel", "\0"],
    ids=["empty", "space", "line break", "space behind", "a field behind", "not ASCII", "NUL"],
)
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Client("http://127.0.0.1:1", key)
    assert KEY not in str(refused.value)


def test_an_idempotency_key_that_no_header_can_hold_is_refused() -> None:
    with Scripted(HANG) as peer, Client(peer.url, KEY) as client:
        for wrong in ("", "a b", "a\r\nX: y", "ü"):
            with pytest.raises(InvalidInputError) as refused:
                client.issue_key(idempotency_key=wrong)
            assert refused.value.field == "idempotency_key"
        assert peer.requests == []


def test_an_idempotency_key_is_sent_with_what_creates() -> None:
    with Scripted(CLOSE) as peer, Client(peer.url, KEY) as client:
        for call in (client.issue_key, lambda **named: client.issue_keys([{}], **named)):
            with pytest.raises(OutcomeUnknownError):
                call(idempotency_key="f4d1")
        assert all(b"idempotency-key: f4d1" in request.lower() for request in peer.requests)
        assert len(peer.requests) == 2


def test_neither_the_client_nor_its_errors_show_a_secret(client: Client, served: Served) -> None:
    secret = unknown_token()
    with Scripted(problem(422, "invalid_request")) as peer, Client(peer.url, KEY) as asking:
        with pytest.raises(KeyturnError) as raised:
            asking.verify(secret)
        shown = repr(asking) + repr(vars(asking)) + repr(raised.value) + str(raised.value)
    assert KEY not in shown
    assert secret not in shown


# -- threads and processes


def test_one_client_serves_many_threads(client: Client, served: Served) -> None:
    tokens = [served.issue(owner=f"thread {number}")["key"] for number in range(10)]

    def ask(number: int) -> bool:
        return client.verify(tokens[number % 10]).owner == f"thread {number % 10}"

    with ThreadPoolExecutor(40) as threads:
        assert all(threads.map(ask, range(200)))


def test_a_forked_child_and_its_parent_never_read_each_others_answers(client: Client, served: Served) -> None:
    mine, childs = (served.issue(owner=owner)["key"] for owner in ("mine", "child's"))
    assert client.verify(mine)  # there is a connection now, which the child inherits
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads, which is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        ends_well = False
        try:
            ends_well = all(client.verify(childs).owner == "child's" for _ in range(100))
        finally:
            os._exit(0 if ends_well else 1)
    assert all(client.verify(mine).owner == "mine" for _ in range(100))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_time_is_bounded_even_if_the_answer_comes_in_drops() -> None:
    """The whole of it would take ten minutes."""
    with Dripping() as url, Client(url, KEY, timeout=0.3) as client, pytest.raises(StorageError):
        client.get_key(UNKNOWN_ID)


class Dripping:
    """Answers with 6,000 bytes, one each tenth of a second."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._drip, daemon=True) for _ in range(ATTEMPTS)]

    def __enter__(self) -> str:
        for thread in self._threads:
            thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _drip(self) -> None:
        connection, _ = self._listener.accept()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6000\r\n\r\n")
        try:
            while not self._is_over.wait(0.1):
                connection.sendall(b" ")
        except OSError:
            return
        finally:
            connection.close()
