"""What the guide and the examples for production say, held against the program and against those who will read them."""

from __future__ import annotations

import configparser
import http.client
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from keyturn.config import KNOWN_SETTINGS
from tests.contract.waiting import until
from tests.http.served import Served
from tests.ops.certificates import Authority
from tests.ops.made import serving
from tests.ops.scraping import parsed, promtool
from tests.running_server import RunningServer

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples" / "deploy"
GUIDE: Final = (ROOT / "docs" / "deployment.md").read_text()
RULES: Final = EXAMPLES / "keyturn.rules.yml"


@pytest.fixture(scope="module")
def families(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all metrics, those of TLS included."""
    directory = tmp_path_factory.mktemp("families")
    with serving(authority.issue(directory), directory) as server:
        connection = server._connection(30.0)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
    return set(parsed(text).types)


def named_in(text: str) -> set[str]:
    """The metrics that a text names, by their families."""
    names = set(re.findall(r"\bkeyturn_(?!app\b)[a-z_]+[a-z]\b", text))
    return {re.sub("_(bucket|sum|count)$", "", name) for name in names}


def test_every_metric_is_in_the_guide_and_the_guide_names_no_other(families: set[str]) -> None:
    assert named_in(GUIDE) == {name for name in families if name.startswith("keyturn_")}


def test_alerts_look_at_metrics_that_there_are(families: set[str]) -> None:
    expressions = "\n".join(re.findall(r"expr: (.*(?:\n {10}.*)*)", RULES.read_text()))
    found = named_in(expressions)
    assert len(found) > 10
    assert found <= families


def test_prometheus_takes_the_alerts_and_they_ring_when_they_should() -> None:
    for arguments in (
        ("check", "rules", str(RULES)),
        ("check", "config", "--syntax-only", str(EXAMPLES / "prometheus.yml")),
        ("test", "rules", str(Path(__file__).with_name("keyturn.rules.test.yml"))),
    ):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_settings_in_guide_and_examples_are_those_that_the_program_knows() -> None:
    for file in (ROOT / "docs" / "deployment.md", *EXAMPLES.iterdir()):
        named = set(re.findall(r"\bKEYTURN_[A-Z_]+\b", file.read_text()))
        assert named <= KNOWN_SETTINGS, file


def test_files_that_the_guide_links_to_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", GUIDE)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_what_could_not_be_tried_says_so_at_its_top() -> None:
    for name in ("keyturn.service", "Containerfile"):
        assert "UNTESTED" in "".join((EXAMPLES / name).read_text().splitlines()[:4])


def test_the_unit_takes_from_the_service_what_it_does_not_need() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(EXAMPLES / "keyturn.service")
    service = unit["Service"]
    assert service["ExecStart"].endswith("/keyturn serve")
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "MemoryDenyWriteExecute"):
        assert service[name] == "yes"


def test_the_container_is_made_of_files_that_there_are_and_runs_as_nobody() -> None:
    text = (EXAMPLES / "Containerfile").read_text()
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", text, re.MULTILINE)
    assert "/livez" in text


def test_the_container_finds_the_certificate_where_the_settings_say() -> None:
    text = (EXAMPLES / "Containerfile").read_text()
    mounted = re.search(r"--volume \./tls:(/[a-z/]+):ro", text)
    assert mounted
    settings = dict(
        line.split("=", 1) for line in (EXAMPLES / "settings.env").read_text().splitlines() if "=" in line
    )
    for name in ("KEYTURN_TLS_CERT", "KEYTURN_TLS_KEY"):
        assert Path(settings[name]).parent == Path(mounted[1])


# -- the proxy --------------------------------------------------------------------------------------------------------


@contextmanager
def nginx(server: RunningServer, directory: Path, port: int) -> Iterator[None]:
    """nginx with the guide's own lines, before a server."""
    (lines,) = re.findall(r"```nginx\n(.*?)```", GUIDE, re.DOTALL)
    lines = lines.replace("127.0.0.1:8700", f"127.0.0.1:{server.port}")
    configuration = directory / "nginx.conf"
    paths = " ".join(
        f"{kind}_temp_path {directory / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration.write_text(
        f"daemon off; pid {directory / 'nginx.pid'}; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; {paths} server {{ listen 127.0.0.1:{port};\n{lines}\n}} }}\n"
    )
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "nginx is not installed: make test-programs"
    with subprocess.Popen([program, "-p", str(directory), "-c", str(configuration)]) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.fixture
def unused_port() -> int:
    """One that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_proxy_as_the_guide_has_it_passes_calls_on_and_keeps_the_metrics_to_itself(
    tmp_path: Path, unused_port: int
) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with RunningServer(url) as server, nginx(server, tmp_path, unused_port):
        served = Served(server, url)
        until(lambda: _answers(unused_port))
        listed = ask_through(unused_port, "/v1/keys?limit=1", served.key)
        assert listed[0] == 200
        assert re.fullmatch("[0-9a-f]{32}", listed[1] or "")
        until(lambda: f"request_id={listed[1]}" in server.stderr)
        assert ask_through(unused_port, "/metrics", served.key)[0] == 404
        assert ask_through(unused_port, "/metrics/", served.key)[0] == 404
        assert ask_through(unused_port, "/%6detrics", None)[0] in (401, 404)


def _answers(port: int) -> bool:
    try:
        return ask_through(port, "/livez", None)[0] == 200
    except OSError:
        return False


def ask_through(port: int, path: str, key: str | None) -> tuple[int, str | None]:
    """The status and the request id of an answer that nginx passed on; it adds fields of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers["x-request-id"]
