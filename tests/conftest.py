"""What holds for every test: nothing of the developer's own machine reaches the program under test."""

from __future__ import annotations

import os
import signal
import tempfile
from typing import Final

import pytest
from hypothesis import settings

# Fixtures of a real PostgreSQL, started when the first test asks for one.
pytest_plugins = ("tests.contract.postgres_server",)

_OWN_SETTINGS: Final = ("KEYTURN_", "KEY_STORE_", "SUPABASE_", "OTEL_")
_LIBPQ: Final = ("PGHOST", "PGPORT", "PGUSER", "PGPASS", "PGSERVICE", "PGDATABASE", "PGOPTIONS", "PGSSL")
_COLOUR: Final = ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "CLICOLOR")
_SIZE: Final = ("COLUMNS", "LINES")
_UNWANTED: Final = (*_OWN_SETTINGS, *_LIBPQ, *_COLOUR, *_SIZE)

# A busy machine is not a failure. "ci" is hypothesis' own profile: the same examples every time.
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_configure(config: pytest.Config) -> None:
    """Clean the environment before test modules are imported; programs that tests start inherit it."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    for name in list(os.environ):
        if name.startswith(_UNWANTED) or name.lower().endswith("_proxy"):
            patch.delenv(name)
    # In the background of a shell interrupts are ignored, and programs that tests start would inherit that too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tempfile.TemporaryDirectory(prefix="keyturn-home-")
    config.add_cleanup(home.cleanup)
    patch.setenv("HOME", home.name)
    patch.setenv("XDG_CONFIG_HOME", f"{home.name}/config")
    patch.setenv("XDG_DATA_HOME", f"{home.name}/data")
