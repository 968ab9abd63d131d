from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.program import Program


@pytest.fixture
def fresh(tmp_path: Path) -> Program:
    """The program on a store that is not there yet."""
    return Program(f"sqlite:///{tmp_path / 'keys.db'}")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store as `keyturn init` leaves it."""
    file = tmp_path_factory.mktemp("made") / "keys.db"
    assert Program(f"sqlite:///{file}").run("init").status == 0
    return file


@pytest.fixture
def program(fresh: Program, made: Path, tmp_path: Path) -> Program:
    """The program on a store that was made."""
    shutil.copyfile(made, tmp_path / "keys.db")
    return fresh
