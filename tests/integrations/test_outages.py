"""When nobody can say whether a key is valid: 503, never a yes; and everything else goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from keyturn import SecureKeyGenerator, SecureKeyStore
from keyturn.integrations.remote import ANSWER_SECONDS
from tests.contract.postgres_server import PostgresServer
from tests.contract.waiting import until
from tests.http.served import Served
from tests.integrations.running_app import APPLICATIONS, Answer, RunningApp
from tests.running_server import KEK, RunningServer, prepared_postgres

BOUND: Final = 1.0
ASYNC: Final = ["fastapi", "asgi", "django asgi"]


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    url = f"sqlite:///{tmp_path_factory.mktemp('outages') / 'keys.db'}"
    with RunningServer(url) as running:
        yield Served(running, url)


@pytest.fixture
def server(one_server: Served) -> Iterator[Served]:
    """A server that the test may stop and freeze."""
    yield one_server
    one_server.server.kill()
    one_server.server.start()


def by_the_server(server: Served) -> dict[str, object]:
    return {"url": server.server.url, "key": server.provision("keys.verify")}


def unavailable(answer: Answer) -> None:
    answer.problem(503, "verification_unavailable")
    assert answer.headers.get("Retry-After") == "1"


def ask_while_others_are_served(app: RunningApp, tokens: list[str]) -> list[Answer]:
    """The answers to requests that cannot be decided on now. Before any of them comes, others are served."""
    with ThreadPoolExecutor(len(tokens)) as threads:
        waiting: list[Future[Answer]] = [threads.submit(app.get, "/any", token) for token in tokens]
        others = 0
        while not any(each.done() for each in waiting):
            assert app.get("/open").ok() == "open"
            others += 1
        assert others >= 3, "the loop stood still until these had ended"
        return [each.result() for each in waiting]


@pytest.mark.parametrize("framework", APPLICATIONS)
def test_a_server_that_is_gone_is_no_yes(server: Served, framework: str) -> None:
    warm, cold = server.issue()["key"], server.issue()["key"]
    with RunningApp(framework, by_the_server(server)) as app:
        assert app.get("/any", warm).status == 200
        server.server.kill()
        unavailable(app.get("/any", cold))
        time.sleep(BOUND)
        unavailable(app.get("/any", warm))
        app.get("/any").problem(401, "unauthenticated")
        assert app.get("/open").ok() == "open"
        assert app.written.count("keys cannot be verified") == 1, "said once, and not for each request"
        assert "Traceback" not in app.written


def test_a_server_that_comes_back_is_asked_again(server: Served) -> None:
    token, options = server.issue()["key"], by_the_server(server)
    server.server.kill()
    with RunningApp("fastapi", options) as app:
        unavailable(app.get("/any", token))
        with RunningServer(server.url, first_key=server.key, KEYTURN_PORT=str(server.port)):
            assert app.get("/any", token).status == 200
            assert "keys can be verified again" in app.written


@pytest.mark.parametrize("framework", ASYNC)
def test_a_frozen_server_holds_up_only_those_who_wait_for_it(server: Served, framework: str) -> None:
    warm = server.issue()["key"]
    cold = [server.issue()["key"] for _ in range(40)]
    with RunningApp(framework, by_the_server(server)) as app:
        assert app.get("/any", warm).status == 200
        server.server.freeze()
        time.sleep(BOUND)
        for answer in ask_while_others_are_served(app, [*cold, warm]):
            unavailable(answer)
        server.server.thaw()
        until(lambda: app.get("/any", warm).status == 200, seconds=ANSWER_SECONDS + 20)


def test_a_caller_that_may_not_ask_is_the_applications_trouble_and_not_its_clients(server: Served) -> None:
    token = server.issue()["key"]
    caller = server.issue(type="provisioning", scope="full", permissions=["keys.verify"])
    with RunningApp("flask", {"url": server.server.url, "key": caller["key"]}) as app:
        assert app.get("/any", token).status == 200
        server.act(caller["key_id"], "revoke").ok()
        time.sleep(BOUND)
        unavailable(app.get("/any", token))
        assert "the provisioning key is not valid" in app.written
        assert caller["key"] not in app.written


# -- on the store


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as started:
        yield started


@pytest.mark.parametrize("framework", ASYNC)
def test_a_frozen_store_holds_up_only_those_who_wait_for_it(postgres: PostgresServer, framework: str) -> None:
    database = postgres.create_database()
    prepared_postgres(database)
    with (
        SecureKeyStore.open(database.app_url, KEK) as store,
        RunningApp(framework, {"url": database.app_url}) as app,
    ):
        made = [SecureKeyGenerator().generate_api_key() for _ in range(21)]
        store.store_keys(made)
        warm, *cold = [key.secret.reveal() for key in made]
        assert app.get("/any", warm).status == 200
        postgres.freeze()
        try:
            for answer in ask_while_others_are_served(app, cold):
                answer.problem(503, "stale")
                assert answer.headers.get("Retry-After") == "1"
            time.sleep(BOUND)
            app.get("/any", warm).problem(503, "stale")
        finally:
            postgres.thaw()
        until(lambda: app.get("/any", warm).status == app.get("/any", cold[0]).status == 200)
        assert "Traceback" not in app.written


@pytest.mark.parametrize("framework", ["flask", "django wsgi", "fastapi"])
def test_a_store_that_is_not_there_yet_is_opened_when_it_is(postgres: PostgresServer, framework: str) -> None:
    database = postgres.create_database()
    prepared_postgres(database)
    with SecureKeyStore.open(database.app_url, KEK) as store:
        key = SecureKeyGenerator().generate_api_key()
        store.store_key(key)
    postgres.stop()
    with RunningApp(framework, {"url": database.app_url}) as app:
        unavailable(app.get("/any", key.secret.reveal()))
        postgres.start()
        until(lambda: app.get("/any", key.secret.reveal()).status == 200)
        assert "Traceback" not in app.written


@pytest.mark.parametrize("framework", ["fastapi", "asgi"])
def test_what_waiting_would_not_mend_is_said_when_the_server_starts(tmp_path: Path, framework: str) -> None:
    store = f"sqlite:///{tmp_path / 'keys.db'}"
    SecureKeyStore.open(store, KEK).close()
    wrong = f"hex:{bytes(32).hex()}"
    with RunningApp(framework, {"url": store}, waiting=False, KEY_STORE_ENCRYPTION_KEY=wrong) as app:
        assert app.wait_until_gone() != 0
        assert "KEY_STORE_ENCRYPTION_KEY" in app.written


@pytest.mark.parametrize("framework", ["flask", "wsgi", "django wsgi", "django asgi"])
def test_where_nothing_is_told_of_the_start_the_first_request_says_it(tmp_path: Path, framework: str) -> None:
    store = f"sqlite:///{tmp_path / 'keys.db'}"
    SecureKeyStore.open(store, KEK).close()
    wrong = f"hex:{bytes(32).hex()}"
    with RunningApp(framework, {"url": store}, KEY_STORE_ENCRYPTION_KEY=wrong) as app:
        answer = app.get("/any", "kt_something")
        unavailable(answer)
        assert "KEY_STORE" not in answer.body.decode(), "that is for the application's log"
        assert "Set KEY_STORE_ENCRYPTION_KEY to the key this store was created with" in app.written
