"""PostgreSQL stores for tests that need many: the schema is applied once, and copied."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from psycopg import sql

from tests.contract.ledger_stores import Store, postgres_store
from tests.contract.postgres_server import (
    APP_ROLE,
    OWNER_ROLE,
    SUPERUSER,
    PostgresDatabase,
    PostgresServer,
)

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def original(postgres_server: PostgresServer) -> PostgresDatabase:
    """A database with the schema and nothing in it, to which nobody is connected."""
    database = postgres_server.create_database()
    postgres_store(database).initialise()
    return database


@pytest.fixture
def postgres_copy(postgres_server: PostgresServer, original: PostgresDatabase) -> Iterator[Store]:
    """A store of its own, as `postgres_store` makes it."""
    name = f"{original.name}_{next(_NUMBERS)}"
    names = [sql.Identifier(part) for part in (name, original.name, OWNER_ROLE)]
    with psycopg.connect(postgres_server.url("postgres", SUPERUSER), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*names))
    roles = (OWNER_ROLE, APP_ROLE, SUPERUSER)
    yield postgres_store(PostgresDatabase(name, *(postgres_server.url(name, role) for role in roles)))
    postgres_server.drop_database(name)
