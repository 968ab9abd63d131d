"""docs/gateways.md and the examples say what is so: codes, fields, and commands that work as they stand."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from keyturn.domain.requirement import check_profile
from keyturn.domain.verdict import Code
from keyturn.server import gateway_answers
from keyturn.server.requiring import from_header, from_query
from keyturn.serving.refusals import REFUSALS
from tests.cli.program import Program

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "gateways.md").read_text()
EXAMPLES: Final = ROOT / "examples" / "gateways"
README: Final = (EXAMPLES / "README.md").read_text()

GATEWAY_CODES: Final = ("unauthenticated", "forbidden", "throttled", "requirement")
OTHER_CODES: Final = ("unauthenticated", "two_credentials", "duplicate_header", "malformed_forwarded_for")


def issuing(text: str) -> list[str]:
    """The commands in a text that issue a key."""
    joined = re.sub(r"\\\n[#\s]*", " ", text)
    return re.findall(r"keyturn (issue --type provisioning[^\n]*)", joined)


def test_every_code_is_on_the_page_and_no_other() -> None:
    answers = PAGE.partition("## Answers")[2].partition("A 200 has no body")[0]
    codes = {code.value for code in Code} | {f"gateway_{code}" for code in GATEWAY_CODES} | {*OTHER_CODES}
    rows = [line.split("|") for line in answers.splitlines() if re.match(r"\| \d", line)]
    assert {code for row in rows for code in re.findall(r"`([a-z_]+)`", row[2])} == codes
    for row in rows:
        for code in re.findall(r"`([a-z_]+)`", row[2]):
            if code in {known.value for known in Code} - {"valid"}:
                refusal = REFUSALS[Code(code)]
                assert str(refusal.status) in row[1], code
                assert ("Retry-After" in dict(refusal.headers)) is (
                    "`Retry-After`" in row[3] and code != "integrity_failed"
                )


def test_every_field_is_on_the_page() -> None:
    source = Path(gateway_answers.__file__).read_text()
    fields = set(re.findall(r"x-keyturn-[a-z-]+", source))
    assert {name.lower() for name in re.findall(r"X-Keyturn-[A-Za-z-]*[a-z]", PAGE)} == fields
    assert f"{gateway_answers.MAX_PERMISSIONS:,}" in PAGE


def test_its_examples_of_requirements_are_understood() -> None:
    header = re.search(r"^\| the field `Keyturn-Require` .*\| `(.*)` \|$", PAGE, re.MULTILINE)
    query = re.search(r"`/v1/authorize\?(.*)` \|$", PAGE, re.MULTILINE)
    profile = re.search(r'`(\{"profile": .*\})` \|$', PAGE, re.MULTILINE)
    assert header
    assert query
    assert profile
    expected = check_profile(json.loads(profile[1])["profile"])
    assert from_header(header[1]) == from_query(query[1].encode()) == expected


TEXTS: Final = {
    str(file.relative_to(ROOT)): text
    for file in [ROOT / "docs" / "gateways.md", *sorted(EXAMPLES.rglob("*"))]
    if file.is_file() and issuing(text := file.read_text())
}


@pytest.mark.parametrize("name", TEXTS)
def test_its_commands_issue_a_key_that_a_gateway_can_use(tmp_path: Path, name: str) -> None:
    program = Program(f"sqlite:///{tmp_path / 'keys.db'}")
    assert program.run("init").status == 0
    for command in issuing(TEXTS[name]):
        issued = program.json(*shlex.split(command))
        assert issued["permissions"] == ["keys.verify"]
        assert issued["profile"]["scope"] == "read"


def test_each_gateway_says_how_to_get_its_key_and_whether_it_was_ever_run() -> None:
    for folder in sorted(path for path in EXAMPLES.iterdir() if path.is_dir()):
        text = "".join(file.read_text() for file in folder.iterdir())
        assert issuing(text), folder
        (row,) = [line for line in README.splitlines() if line.startswith(f"| [{folder.name}]")]
        is_tested = folder.name in ("nginx", "haproxy", "envoy")
        assert ("UNTESTED" in text) is not is_tested
        assert ("**untested**" in row) is not is_tested
