"""The ledger in PostgreSQL 15 or newer.

    # once, by `keyturn init`:
    initialise("postgresql://owner@db/keyturn", log_id=log_id, grant_to="keyturn_app")
    # by every process:
    ledger = open_ledger("postgresql://keyturn_app@db/keyturn")

The schema `keyturn` is plain SQL, in the numbered files beside this one. The program's role may read its
tables and execute its functions and nothing else, so that what reaches the log passes `keyturn.commit`.

Behind PgBouncer in transaction mode, use 1.21 or newer with `max_prepared_statements` above 0, or open with
`Settings(prepare=False)`; `wait_for_news` then sleeps, because LISTEN needs a session of its own.
"""

from __future__ import annotations

from keyturn.errors import ConfigurationError

try:
    import psycopg as _psycopg  # noqa: F401  (asked for here, so that the answer can help)
except ImportError as error:
    raise ConfigurationError(
        f"a postgresql:// store needs the package psycopg: {error}",
        fix="Run: pip install 'keyturn[postgres]'",
    ) from error

from keyturn.adapters.ledger.postgres.connecting import Settings
from keyturn.adapters.ledger.postgres.ledger import PostgresLedger, open_ledger
from keyturn.adapters.ledger.postgres.schema import initialise

__all__ = ["PostgresLedger", "Settings", "initialise", "open_ledger"]
