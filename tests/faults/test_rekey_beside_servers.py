"""Keys under the keys are changed while servers answer: no verification is wrong or refused, and no change is lost."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise, open_node
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.key_generator import SecureKeyGenerator
from tests.contract.ledger_stores import Store
from tests.running_server import KEK, RunningServer, program_environment, run_program

NEW = "hex:" + "4e" * 32
KEYS = 250
RATE = "150"  # rows a second: resealing takes some seconds, in which the servers are asked
STALE = 5  # answers in a row that a busy machine may cause
BY = Principal(actor=LOCAL_ACTOR)


class Site:
    """A store with many keys, two servers on it, and the program at the command line."""

    def __init__(self, store: Store, resources: ExitStack) -> None:
        wrapper = LocalKeyWrapper(Secret(KEK))
        first = initialise(store.owner_url, wrapper, with_first_key=True, grant_to=store.role)
        assert first is not None
        self.url = store.url
        self.first_key = first.secret.reveal()
        generator = SecureKeyGenerator()
        self.keys: list[GeneratedKey] = [generator.generate_api_key() for _ in range(KEYS)]
        node = open_node(store.url, wrapper)
        node.issuer.issue_all(self.keys, BY)
        node.close()
        self.servers = [
            resources.enter_context(RunningServer(store.url, first_key=self.first_key)) for _ in range(2)
        ]

    def rekey(self, *arguments: str, kek: str | None = None, given: str = "") -> dict[str, Any]:
        """`keyturn rekey --json`, which works."""
        environment = program_environment(self.url)
        environment["KEY_STORE_ENCRYPTION_KEY"] = kek or environment["KEY_STORE_ENCRYPTION_KEY"]
        done = run_program(environment, "rekey", "--json", *arguments, given=given)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer


@pytest.fixture
def site(bare: Store) -> Iterator[Site]:
    with ExitStack() as resources:
        yield Site(bare, resources)


class Customers:
    """They present keys to both servers without a pause, and managers issue, change and revoke others meanwhile."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.answers: Counter[str] = Counter()
        self.problems: list[object] = []
        self._leaving = threading.Event()
        self._threads = [threading.Thread(target=self._present, args=(number,)) for number in range(2)]
        self._threads.append(threading.Thread(target=self._manage))

    def __enter__(self) -> Customers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join(60)

    def _present(self, number: int) -> None:
        server, at = self.site.servers[number], number * KEYS // 2
        while not self._leaving.is_set():
            # Each of them for the first time somewhere on the way: read from the store, as it is just then.
            self._note(self._verified(server, self.site.keys[at % KEYS].secret.reveal()), "valid")
            at += 1

    def _verified(self, server: RunningServer, token: str) -> dict[str, Any]:
        """The answer; asked for again where a store on a busy machine did not answer within the server's bounds."""
        for _ in range(STALE):
            answer = server.verify(token)
            if answer["code"] != "stale":
                break
        return answer

    def _manage(self) -> None:
        turn = 0
        while not self._leaving.is_set():
            here, there = self.site.servers[turn % 2], self.site.servers[1 - turn % 2]
            turn += 1
            issued = here.issue(name="one of many", type="hmac" if turn % 3 == 0 else "api_token")
            key_id = issued["key_id"]
            status, answer = there.call(
                "PATCH", f"/v1/keys/{key_id}", {"name": "renamed"}, key=self.site.first_key
            )
            if status != 200:
                self.problems.append(answer)
            status, answer = here.call("POST", f"/v1/keys/{key_id}/revoke", {}, key=self.site.first_key)
            if status != 200:
                self.problems.append(answer)
            if issued["type"] == "api_token":
                self._note(self._verified(here, issued["key"]), "revoked")

    def _note(self, answer: dict[str, Any], expected: str) -> None:
        self.answers[answer["code"]] += 1
        if answer["code"] != expected:
            self.problems.append(answer)


def test_no_verification_is_wrong_or_refused_while_data_keys_change(site: Site) -> None:
    with Customers(site) as customers:
        done = site.rekey("--data-key", "--rate", RATE)
        assert (done["primary"], done["refused"]) == (2, 0)
        assert site.rekey("--retire") == {"changed": "minimum", "minimum": 2}
        site.rekey("--data-key", "--rate", "5000")
        site.rekey("--retire")
    assert customers.problems == []
    assert customers.answers.keys() == {"valid", "revoked"}
    assert customers.answers["valid"] > KEYS
    assert {each["version"]: each["rows"] > 0 for each in site.rekey("--status")["data_keys"]} == {
        1: False,
        2: False,
        3: True,
    }
    for server in site.servers:
        assert [
            line for line in server.stderr.splitlines() if " ERROR " in line or " CRITICAL " in line
        ] == []


def test_a_server_that_runs_goes_on_when_the_key_encryption_key_is_changed(site: Site) -> None:
    with Customers(site) as customers:
        assert site.rekey(given=NEW)["changed"] == "kek"
        refused = run_program(program_environment(site.url), "list", "--json")
        assert json.loads(refused.stderr)["code"] == "wrong_kek"
        with RunningServer(site.url, first_key=site.first_key, KEY_STORE_ENCRYPTION_KEY=NEW) as restarted:
            assert restarted.verify(site.keys[0].secret.reveal())["valid"]
            issued = restarted.issue(name="issued under the new one")
            for server in site.servers:
                # Within the bound, as ever: it may have to read the log first.
                assert server.verify(issued["key"])["valid"]
    assert customers.problems == []
    assert customers.answers["valid"] > 0


def test_a_server_that_cannot_unwrap_a_data_key_says_stale_and_not_tampering(site: Site) -> None:
    site.rekey(given=NEW)
    site.rekey("--data-key", kek=NEW)
    token = site.keys[0].secret.reveal()
    codes = {server.verify(token)["code"] for server in site.servers}
    assert codes == {"stale"}
    status, problem = site.servers[0].call("GET", "/v1/keys", key=site.first_key)
    assert (status, problem["code"]) == (503, "stale")
    assert "cannot unwrap data keys [2]" in site.servers[0].stderr
    with RunningServer(site.url, first_key=site.first_key, KEY_STORE_ENCRYPTION_KEY=NEW) as restarted:
        assert restarted.verify(token)["valid"]
        assert restarted.call("GET", "/readyz")[0] == 200
