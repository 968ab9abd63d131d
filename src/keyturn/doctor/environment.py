"""What Keyturn runs on, and how it is set: Python, libraries, settings, the key-encryption key."""

from __future__ import annotations

import platform
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Final

from cryptography.hazmat.backends.openssl.backend import backend

from keyturn.adapters.ledger.sqlite.location import is_begun
from keyturn.bootstrap import wrapper_for
from keyturn.config import KNOWN_SETTINGS, Environment, Settings, settings_from
from keyturn.doctor.findings import Finding, doubtful, failed, in_order, refused
from keyturn.errors import KeyturnError, StorageError
from keyturn.ports.key_wrapper import KeyWrapper

OLDEST_PYTHON: Final = (3, 11)
OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?")
_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([a-z0-9-]+)['"]""")
_BOUND: Final = re.compile(r"(>=|==)\s*([0-9][0-9.]*)")

CheckServing = Callable[[Settings], None]
"""ConfigurationError where a server would refuse to start with these settings."""


def python() -> Iterator[Finding]:
    """The interpreter, and the libraries that come with it."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = f"{platform.python_implementation()} {version}, SQLite {sqlite3.sqlite_version}, {_openssl()}"
    if sys.version_info < OLDEST_PYTHON:
        yield failed("python", found, "Use Python 3.11 or newer.")
    elif sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield failed("python", found, "Use a Python whose SQLite is 3.37 or newer.")
    else:
        yield in_order("python", found)


def _openssl() -> str:
    return backend.openssl_version_text()


def libraries(extras: frozenset[str]) -> Iterator[Finding]:
    """Every package that this installation needs, and whether it is new enough."""
    try:
        required = metadata.requires("keyturn") or []
    except metadata.PackageNotFoundError:
        yield doubtful("libraries", "keyturn is not installed as a package", "Run: pip install .")
        return
    problems, versions = [], []
    for requirement in required:
        match = _REQUIREMENT.fullmatch(requirement.strip())
        extra = None if match is None else _EXTRA.search(match[3] or "")
        if match is None or (extra is not None and extra[1] not in extras):
            continue
        version = _installed(match[1])
        if version is not None:
            versions.append(f"{match[1]} {version}")
        problem = _problem(match[1], match[2], version, is_conditional=bool(match[3]) and extra is None)
        problems += [] if problem is None else [(problem, extra)]
    for problem, extra in problems:
        wanted = "keyturn" if extra is None else f"keyturn[{extra[1]}]"
        yield failed("libraries", problem, f"Run: pip install --upgrade '{wanted}'")
    if not problems:
        yield in_order("libraries", ", ".join(versions))


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _problem(name: str, wanted: str, version: str | None, *, is_conditional: bool) -> str | None:
    """What is wrong with an installed version; None for nothing. A conditional one may be absent."""
    if version is None:
        return None if is_conditional else f"{name} is not installed"
    for relation, bound in _BOUND.findall(wanted):
        have, need = _numbers(version), _numbers(bound)
        if have < need or (relation == "==" and have != need):
            return f"{name} is {version}, and must be {relation}{bound}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """`1.10.0` as (1, 10): numbers that compare, without zeros at the end."""
    leading = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    numbers = [int(part) for part in leading[0].split(".")] if leading else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def configuration(
    environ: Mapping[str, str], check_serving: CheckServing
) -> tuple[Settings | None, list[Finding]]:
    """The settings, None where there are none to go on with, and what is wrong with them."""
    unknown = sorted(name for name in environ if name.startswith("KEYTURN_") and name not in KNOWN_SETTINGS)
    if unknown:
        fix = f"Remove or correct them. Known are: {', '.join(sorted(KNOWN_SETTINGS))}."
        return None, [failed("configuration", f"unknown settings: {', '.join(unknown)}", fix)]
    try:
        settings = settings_from(environ)
    except KeyturnError as error:
        return None, [refused("configuration", error)]
    findings = list(_conflicts(environ, settings, check_serving))
    if not findings:
        listening = f"server on {settings.host}:{settings.port}"
        found = f"{settings.environment.value}, store {settings.shown_store}, {listening}"
        findings = [in_order("configuration", found)]
    return settings, findings


def _conflicts(
    environ: Mapping[str, str], settings: Settings, check_serving: CheckServing
) -> Iterator[Finding]:
    try:
        check_serving(settings)
    except KeyturnError as error:
        yield refused("configuration", error)
    if environ.get("KEYTURN_STORE") and environ.get("KEYTURN_DATA_DIR"):
        yield doubtful(
            "configuration",
            "KEYTURN_STORE and KEYTURN_DATA_DIR are both set: the store is where KEYTURN_STORE says",
            "Leave KEYTURN_DATA_DIR out.",
        )
    is_development = settings.environment is Environment.DEVELOPMENT
    if is_development and settings.kek is not None and settings.kek_file.exists():
        yield doubtful(
            "configuration",
            f"KEY_STORE_ENCRYPTION_KEY is set, and there is a key file, {settings.kek_file}, which is not read then",
            "Leave out the one that is not this store's.",
        )


def kek(settings: Settings) -> tuple[KeyWrapper | None, Finding]:
    """The key-encryption key, None where there is none, and where it comes from."""
    file = settings.kek_file
    is_file = settings.kek is None and settings.environment is Environment.DEVELOPMENT
    try:
        if is_file and not file.exists():
            return None, _no_key_file(settings)
        wrapper, _ = wrapper_for(settings)
    except (KeyturnError, OSError) as error:
        return None, refused("key-encryption key", error)
    source = f"development's key file, {file}" if is_file else "KEY_STORE_ENCRYPTION_KEY"
    return wrapper, in_order("key-encryption key", f"from {source}")


def _no_key_file(settings: Settings) -> Finding:
    if has_store(settings):
        return failed(
            "key-encryption key",
            f"KEY_STORE_ENCRYPTION_KEY is not set, and there is no {settings.kek_file}",
            "Set it to the key this store was created with; if that was in the file, put the file back.",
        )
    return in_order("key-encryption key", f"the first start makes one in {settings.kek_file}")


def has_store(settings: Settings) -> bool:
    """Whether there is a store; of a database, and of a file that is gone, only opening it tells."""
    try:
        return settings.store_file is None or is_begun(settings.store_file)
    except StorageError:
        return True
