"""A certificate that changes while the server runs, and those with which it does not start."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyturn.cli import listening
from keyturn.config import settings_from
from keyturn.errors import ConfigurationError
from keyturn.server.tls import Identity
from tests.cli.program import Program
from tests.contract.waiting import until
from tests.http.raw import request
from tests.ops.certificates import Authority, Pair
from tests.ops.made import made_store, serving
from tests.ops.tls_clients import answer_on, connected, serial_of
from tests.running_server import RunningServer


@pytest.fixture
def renewed(tmp_path: Path) -> Path:
    """Where new pairs are made."""
    directory = tmp_path / "renewed"
    directory.mkdir()
    return directory


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> Pair:
    return authority.issue(tmp_path)


def shown(server: RunningServer, authority: Authority) -> int:
    with connected(server.port, authority) as client:
        return serial_of(client)


# -- renewed ----------------------------------------------------------------------------------------------------------


def test_a_new_pair_is_shown_and_nobody_is_disconnected(
    authority: Authority, pair: Pair, tmp_path: Path, renewed: Path
) -> None:
    with serving(pair, tmp_path) as server, connected(server.port, authority) as client:
        assert serial_of(client) == shown(server, authority) == pair.serial
        for _ in range(2):
            new = authority.issue(renewed)
            pair.replace_with(new)
            until(lambda new=new: shown(server, authority) == new.serial)  # type: ignore[misc]
            client.sendall(request("GET", "/livez"))
            assert answer_on(client) == (200, {"status": "live"})
        until(lambda: server.stderr.count("the TLS certificate was taken anew") == 2)
        assert " ERROR " not in server.stderr


def test_a_pair_that_is_written_into_the_same_files_is_taken_too(
    authority: Authority, pair: Pair, tmp_path: Path, renewed: Path
) -> None:
    with serving(pair, tmp_path) as server:
        new = authority.issue(renewed)
        pair.certificate.write_bytes(new.certificate.read_bytes())
        pair.key.write_bytes(new.key.read_bytes())
        until(lambda: shown(server, authority) == new.serial)


def test_a_bad_pair_is_reported_once_and_not_taken_and_a_good_one_after_it_is(
    authority: Authority, pair: Pair, tmp_path: Path, renewed: Path
) -> None:
    spoilt: tuple[tuple[str, Callable[[], object]], ...] = (
        ("holds no certificate", lambda: pair.certificate.write_text("no certificate")),
        ("is not that of the certificate", lambda: pair.replace_with(authority.issue(renewed), only="key")),
        ("cannot read the TLS private key", pair.key.unlink),
        ("cannot be used", lambda: pair.key.write_bytes(pair.key.read_bytes()[:60])),
    )
    with serving(pair, tmp_path) as server:
        present = pair.serial
        for number, (said, spoil) in enumerate(spoilt, 1):
            spoil()
            until(lambda said=said: said in server.stderr)  # type: ignore[misc]
            for _ in range(3):
                assert shown(server, authority) == present
            good = authority.issue(renewed)
            pair.replace_with(good)
            until(lambda good=good: shown(server, authority) == good.serial)  # type: ignore[misc]
            present = good.serial
            assert server.stderr.count("is not taken, the old one stays") == number
        assert "Traceback" not in server.stderr


def test_in_production_a_key_that_others_may_read_is_not_taken(
    authority: Authority, pair: Pair, tmp_path: Path, renewed: Path
) -> None:
    url, first = made_store(tmp_path)
    with RunningServer(
        url, first_key=first, KEYTURN_ENV="production", KEYTURN_TLS_CERT=str(pair.certificate),
        KEYTURN_TLS_KEY=str(pair.key),
    ) as server:  # fmt: skip
        before, new = pair.serial, authority.issue(renewed)
        new.key.chmod(0o640)
        pair.replace_with(new)
        until(lambda: "may be read by others" in server.stderr)
        assert shown(server, authority) == before
        pair.key.chmod(0o600)
        os.utime(pair.key)
        until(lambda: shown(server, authority) == new.serial)


@pytest.mark.parametrize(("days", "is_reported"), [(13, True), (-1, True), (60, False)])
def test_a_certificate_that_ends_soon_is_reported(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture, days: int, is_reported: bool
) -> None:
    pair = authority.issue(tmp_path, lifetime=timedelta(days=days))
    identity = Identity(pair.certificate, pair.key, is_strict=True)
    assert ("the TLS certificate in" in caplog.text) == is_reported
    assert abs(identity.ends_at - datetime.now(UTC) - timedelta(days=days)) < timedelta(hours=1)


# -- refused at the start ---------------------------------------------------------------------------------------------


def refusal(tmp_path: Path, certificate: Path, key: Path, **settings: str) -> str:
    """What `serve` says and ends with; nothing was made before."""
    program = Program(f"sqlite:///{tmp_path / 'keys.db'}", **settings)
    done = program.run("serve", "--tls-cert", str(certificate), "--tls-key", str(key))
    assert (done.status, done.out) == (1, "")
    assert "fix: " in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "keys.db").exists()
    return done.err


def test_files_that_are_not_there_are_named(pair: Pair, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert f"cannot read the TLS certificate {absent}" in refusal(tmp_path, absent, pair.key)
    assert f"cannot read the TLS private key {absent}" in refusal(tmp_path, pair.certificate, absent)


def test_a_pair_that_does_not_belong_together_is_refused(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    other = authority.issue(tmp_path, "other")
    assert "is not that of the certificate" in refusal(tmp_path, pair.certificate, other.key)


def test_a_key_that_is_encrypted_is_refused_without_asking_for_its_password(
    authority: Authority, tmp_path: Path
) -> None:
    encrypted = authority.issue(tmp_path, password=b"a password")
    assert "the private key is encrypted" in refusal(tmp_path, encrypted.certificate, encrypted.key)


def test_files_of_another_kind_are_refused(pair: Pair, tmp_path: Path) -> None:
    assert "holds no certificate" in refusal(tmp_path, pair.key, pair.key)
    other = tmp_path / "nonsense"
    other.touch(mode=0o600)
    other.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert "cannot be used" in refusal(tmp_path, pair.certificate, other)


def test_a_key_that_others_may_read_is_refused_in_production_and_reported_in_development(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    pair.key.chmod(0o644)
    said = refusal(tmp_path, pair.certificate, pair.key, KEYTURN_ENV="production")
    assert f"chmod 600 {pair.key}" in said
    with serving(pair, tmp_path) as server:
        assert "may be read by others: its mode is 0644" in server.stderr
        assert shown(server, authority) == pair.serial


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602])
def test_anybody_but_the_owner_is_another(pair: Pair, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    pair.key.chmod(mode)
    with pytest.raises(ConfigurationError, match="may be read by others"):
        Identity(pair.certificate, pair.key, is_strict=True)
    Identity(pair.certificate, pair.key, is_strict=False)
    assert "may be read by others" in caplog.text
    pair.key.chmod(0o400)
    Identity(pair.certificate, pair.key, is_strict=True)


def test_one_file_of_the_two_is_not_enough(pair: Pair, tmp_path: Path) -> None:
    program = Program(f"sqlite:///{tmp_path / 'keys.db'}")
    for given, absent in (("--tls-cert", "--tls-key"), ("--tls-key", "--tls-cert")):
        done = program.process("serve", given, str(pair.certificate))
        assert done.status == 1
        assert absent in done.err


def test_options_go_before_settings(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    other = authority.issue(tmp_path, "other")
    settings = {"KEYTURN_TLS_CERT": str(other.certificate), "KEYTURN_TLS_KEY": str(other.key)}
    assert "absent" in refusal(tmp_path, tmp_path / "absent", pair.key, **settings)


# -- plain HTTP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "keys.example.com"])
def test_production_serves_other_machines_over_tls_only(tmp_path: Path, host: str) -> None:
    url, _ = made_store(tmp_path)
    done = Program(url, KEYTURN_ENV="production").process("serve", "--host", host)
    assert (done.status, done.out) == (1, "")
    for way in ("--tls-cert", "127.0.0.1", "--allow-plain-http"):
        assert way in done.err


@pytest.mark.parametrize(
    "allowed",
    [{"tls_cert": Path("a"), "tls_key": Path("b")}, {"allow_plain_http": True}, {"host": "127.0.0.2"}, {"host": "::1"},
     {"host": "localhost"}],
)  # fmt: skip
def test_production_serves_them_where_that_is_safe_or_allowed_by_name(allowed: dict[str, Any]) -> None:
    settings = settings_from({"KEYTURN_ENV": "production", "KEYTURN_HOST": "0.0.0.0"})
    with pytest.raises(ConfigurationError):
        listening.check(settings)
    listening.check(replace(settings, **allowed))


def test_the_permission_can_be_a_setting() -> None:
    for text, expected in (("1", True), ("0", False), ("", False)):
        assert settings_from({"KEYTURN_ALLOW_PLAIN_HTTP": text}).allow_plain_http is expected
    for text in ("yes", "true", "2"):
        with pytest.raises(ConfigurationError, match="KEYTURN_ALLOW_PLAIN_HTTP"):
            settings_from({"KEYTURN_ALLOW_PLAIN_HTTP": text})
