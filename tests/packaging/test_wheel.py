"""What `pip install .` installs: the package whole, SQL files included, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = {
    "all", "aws", "azure", "bcrypt", "django", "fastapi", "flask", "gcp", "otel", "pkcs11", "postgres", "redis",
    "supabase", "vault",
}  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    command = [*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


def metadata(wheel: Path, name: str) -> str:
    with ZipFile(wheel) as archive:
        (path,) = [path for path in archive.namelist() if path.endswith(f".dist-info/{name}")]
        return archive.read(path).decode()


def described(wheel: Path) -> Message:
    return Parser().parsestr(metadata(wheel, "METADATA"))


def sources() -> set[str]:
    """Paths of the package's files below src, without what tools leave beside them."""
    found = (
        path.relative_to(ROOT / "src") for path in (ROOT / "src" / "keyturn").rglob("*") if path.is_file()
    )
    return {
        path.as_posix()
        for path in found
        if not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    }


def requirements(wheel: Path) -> dict[str, set[str]]:
    """What each extra brings."""
    brought: dict[str, set[str]] = {extra: set() for extra in EXTRAS}
    for line in described(wheel).get_all("Requires-Dist", []):
        what, _, extra = line.partition("; extra == ")
        if extra:
            brought[extra.strip("'\"")].add(what)
    return brought


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = {path for path in archive.namelist() if ".dist-info/" not in path}
    assert packed == sources()
    assert {"keyturn/py.typed", "keyturn/adapters/ledger/sqlite/001_tables.sql"} <= packed


def test_the_extras_are_those_that_the_documentation_names(wheel: Path) -> None:
    assert set(described(wheel).get_all("Provides-Extra", [])) == EXTRAS


def test_all_brings_what_every_other_extra_brings(wheel: Path) -> None:
    brought = requirements(wheel)
    everything = brought.pop("all")
    assert all(brought.values())
    assert everything == set().union(*brought.values())


def test_the_command_and_the_licence_come_along(wheel: Path) -> None:
    assert "keyturn = keyturn.cli:main" in metadata(wheel, "entry_points.txt")
    assert "Apache License" in metadata(wheel, "licenses/LICENSE")
