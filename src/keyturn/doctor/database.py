"""A PostgreSQL store's server: the role that programs use, what is switched off, and its clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from keyturn.doctor.findings import Finding, doubtful, failed, in_order, refused
from keyturn.errors import KeyturnError
from keyturn.ports.clock import Clock

if TYPE_CHECKING:
    from keyturn.adapters.ledger.postgres.examining import ServerFacts

_GRANT: Final = "Run 'keyturn init --grant-to {role}' as the schema's owner."
_RESTRICT: Final = (
    "Let servers connect as another role, one that is neither the owner, nor a member of it, nor a superuser:"
    " CREATE ROLE keyturn_app LOGIN PASSWORD '...'; then 'keyturn init --grant-to keyturn_app' as the owner."
)
BEHIND: Final = 1.0  # seconds between two clocks, before it is said
FAR_BEHIND: Final = 30.0
_SECOND: Final = 1_000_000_000  # nanoseconds


def database(url: str, clock: Clock) -> Iterator[Finding]:
    """What is found about the server and the role of this URL."""
    from keyturn.adapters.ledger.postgres.examining import examine  # noqa: PLC0415 - the driver may be missing

    try:
        asked = clock.nanos() / _SECOND
        facts = examine(url)
        took = clock.nanos() / _SECOND - asked
    except KeyturnError as error:
        yield refused("database", error)
        return
    yield from _server(facts)
    yield from _role(facts)
    yield _clock(facts.now - asked, took)


def _server(facts: ServerFacts) -> Iterator[Finding]:
    version = f"PostgreSQL {facts.version // 10_000}.{facts.version % 10_000}"
    if facts.risky:
        yield failed(
            "database",
            f"{version} runs with {' and '.join(facts.risky)} switched off: a power cut loses what was acknowledged",
            "Switch it on in postgresql.conf, and restart the server.",
        )
    else:
        yield in_order("database", version)


def _role(facts: ServerFacts) -> Iterator[Finding]:
    """Whoever has the program's password should be able to read, and to call functions that keep the log whole."""
    role, grant = facts.role, _GRANT.format(role=facts.role)
    if facts.is_superuser:
        yield failed("database role", f"{role} is a superuser", _RESTRICT)
    elif facts.owned:
        yield failed(
            "database role", f"{role} owns {facts.owned[0]} and others, or may act as who does", _RESTRICT
        )
    elif facts.may_create:
        yield failed("database role", f"{role} may add to the schema", grant)
    elif facts.writable:
        found = f"{role} may write to {', '.join(facts.writable)} without calling a function"
        yield failed("database role", found, grant)
    elif facts.unreadable or facts.uncallable:
        lacking = ", ".join(facts.unreadable + facts.uncallable)
        yield failed("database role", f"{role} may not use {lacking}", grant)
    else:
        yield in_order("database role", f"{role} may read and call functions, and nothing else")


def _clock(ahead: float, took: float) -> Finding:
    """`ahead`: of the server's clock over the time at which it was asked; the answer took so many seconds."""
    off = max(0.0, ahead - took, -ahead)
    if off <= BEHIND:
        return in_order("clock", "within a second of the database server's")
    found = f"{off:,.1f} s away from the database server's"
    tell = failed if off > FAR_BEHIND else doubtful
    return tell("clock", found, "Keep both clocks by NTP: expiry is judged by them.")
