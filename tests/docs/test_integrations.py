"""The examples of docs/integrations.md, run as they stand: only where the server is, is the test's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from keyturn import KeyScope, SecureKeyGenerator, SecureKeyStore
from keyturn.serving.refusals import NO_ADDRESS, NO_KEY, REFUSALS, TWO_KEYS, UNDECIDED
from tests.http.conftest import served
from tests.http.served import Served
from tests.integrations.running_app import RunningApp
from tests.running_server import KEK

__all__ = ["served"]

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()

# What the document leaves to the reader's own project.
DJANGO_SETTINGS: Final = """
ALLOWED_HOSTS, SECRET_KEY, ROOT_URLCONF = ["127.0.0.1"], "of no use here", "urls"
"""
DJANGO_URLS: Final = """
from django.urls import path
from views import documents, health
urlpatterns = [path("documents", documents), path("health", health)]
"""
DJANGO_MAIN: Final = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.{kind} import get_{kind}_application
app = get_{kind}_application()
"""


def programs(title: str) -> list[str]:
    """The Python blocks below a heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the document has no section {title!r}"
    return re.findall(r"```python\n(.*?)```", found[1], re.DOTALL)


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Keys in the store that the examples name, by what they are good for."""
    wanted: dict[str, dict[str, object]] = {
        "good": {"key_scope": KeyScope.READ, "permissions": ["documents.*"]},
        "without the permission": {"key_scope": KeyScope.READ},
        "without the scope": {"key_scope": KeyScope.WRITE, "permissions": ["documents.*"]},
        "revoked": {"key_scope": KeyScope.READ, "permissions": ["documents.*"]},
    }
    made = {
        name: SecureKeyGenerator().generate_api_key(owner="acme", **options)  # type: ignore[arg-type]
        for name, options in wanted.items()
    }
    with SecureKeyStore.open(f"sqlite:///{tmp_path / 'keys.db'}", KEK) as store:
        store.store_keys(list(made.values()))
        store.revoke_key(made["revoked"].key_id)
        yield {name: key.secret.reveal() for name, key in made.items()}


def served_from(directory: Path, framework: str) -> RunningApp:
    return RunningApp(framework, {}, module="main:app", directory=directory)


def project(directory: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (directory / name).write_text(text)


@pytest.mark.parametrize("framework", ["fastapi", "flask", "django wsgi", "django asgi"])
def test_a_guarded_route_is_called_for_those_who_may(
    tmp_path: Path, tokens: dict[str, str], framework: str
) -> None:
    if framework.startswith("django"):
        settings, views = programs("Django")
        main = DJANGO_MAIN.format(kind=framework.removeprefix("django "))
        project(
            tmp_path,
            {
                "settings.py": DJANGO_SETTINGS + settings,
                "views.py": views,
                "urls.py": DJANGO_URLS,
                "main.py": main,
            },
        )
    else:
        (program,) = programs({"fastapi": "FastAPI", "flask": "Flask"}[framework])
        project(tmp_path, {"main.py": program})
    with served_from(tmp_path, framework) as app:
        assert app.get("/documents", tokens["good"]).ok() == {"owner": "acme"}
        app.get("/documents").problem(401, "unauthenticated")
        app.get("/documents", tokens["revoked"]).problem(401, "revoked")
        app.get("/documents", tokens["without the scope"]).problem(403, "insufficient_scope")
        app.get("/documents", tokens["without the permission"]).problem(403, "insufficient_permissions")
        if framework.startswith("django"):
            assert app.get("/health").ok() == {"status": "live"}
        assert "Traceback" not in app.written


@pytest.mark.parametrize("framework", ["asgi", "wsgi"])
def test_a_guarded_application_is_called_for_those_who_may(
    tmp_path: Path, tokens: dict[str, str], framework: str
) -> None:
    (program,) = programs(framework.upper())
    project(tmp_path, {"main.py": program})
    with served_from(tmp_path, framework) as app:
        answer = app.get("/whatever", tokens["good"])
        assert (answer.status, answer.body) == (200, b"acme")
        app.get("/whatever").problem(401, "unauthenticated")
        app.get("/whatever", tokens["revoked"]).problem(401, "revoked")
        app.get("/whatever", tokens["without the scope"]).problem(403, "insufficient_scope")


def run(program: str, directory: Path, **environment: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=directory, env={**os.environ, "KEY_STORE_ENCRYPTION_KEY": f"hex:{KEK.hex()}", **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_programs_about_stores_and_servers_work_as_they_stand(tmp_path: Path, served: Served) -> None:
    by_the_server, on_the_store = programs("On the store, or by a server")
    (behind_a_proxy,) = programs("Where requests come from")
    key = served.provision("keys.verify")
    run(by_the_server.replace("https://keys.example.com", served.server.url), tmp_path, PROVISIONING_KEY=key)
    run(on_the_store, tmp_path)
    run(behind_a_proxy, tmp_path)


def test_the_clients_program_works_as_it_stands(tmp_path: Path, served: Served) -> None:
    (program,) = programs("From Python, without a framework")
    program = program.replace("https://keys.example.com", served.server.url)
    printed = run(program, tmp_path, PROVISIONING_KEY=served.key)
    assert "list what exists" in printed


def test_the_statuses_and_codes_are_those_that_are_answered() -> None:
    table = re.findall(r"^\| ([0-9]{3}) \| (.*?) \|", DOCUMENT, re.MULTILINE)
    documented = {int(status): set(re.findall(r"`(\w+)`", codes)) for status, codes in table}
    answered: dict[int, set[str]] = {}
    for refusal in (*REFUSALS.values(), NO_KEY, TWO_KEYS, NO_ADDRESS, UNDECIDED):
        answered.setdefault(refusal.status, set()).add(refusal.code)
    assert json.dumps(sorted(documented)) == json.dumps(sorted(answered))
    assert documented == answered
