from __future__ import annotations

from tests.contract.ledger_stores import empty_store, ledger, store
from tests.contract.postgres_server import (
    postgres_app_url,
    postgres_database,
    postgres_server,
    postgres_url,
)

__all__ = [
    "empty_store",
    "ledger",
    "postgres_app_url",
    "postgres_database",
    "postgres_server",
    "postgres_url",
    "store",
]
