"""The ledger in one SQLite file, for one machine, with nothing but the standard library.

    initialise("sqlite:////var/lib/keyturn/keyturn.db", log_id=log_id)      # at every start: harmless when done before
    ledger = open_ledger("sqlite:////var/lib/keyturn/keyturn.db")

Three slashes before a path relative to the working directory, four before an absolute one. Several processes of one
machine may open the same file; a network file system is not for it.
"""

from __future__ import annotations

from keyturn.adapters.ledger.sqlite.ledger import SqliteLedger, open_ledger
from keyturn.adapters.ledger.sqlite.location import Settings
from keyturn.adapters.ledger.sqlite.schema import initialise

__all__ = ["Settings", "SqliteLedger", "initialise", "open_ledger"]
