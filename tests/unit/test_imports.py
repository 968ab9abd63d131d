"""What a program pays for `import keyturn`: the standard library and `cryptography`, nothing more."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

# The two after it are how cryptography reaches its compiled half; the last one it loads by itself where it is there.
ALLOWED = {"keyturn", "cryptography", "_cffi_backend", "_openssl", "bcrypt"}

LIST_WHAT_IS_LOADED = """
import json, sys
before = set(sys.modules)
import {module}
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})))
"""


def loaded_by(module: str) -> set[str]:
    """Top-level modules that importing `module` loads in a fresh interpreter, where any warning is an error."""
    command = [sys.executable, "-I", "-W", "error", "-c", LIST_WHAT_IS_LOADED.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "module", ["keyturn", "keyturn.key_generator", "keyturn.key_store", "keyturn.adapters.ledger.sqlite"]
)
def test_the_library_loads_the_standard_library_and_cryptography_only(module: str) -> None:
    assert loaded_by(module) - sys.stdlib_module_names - ALLOWED == set()


def test_what_is_loaded_is_really_looked_at() -> None:
    """A list that stayed empty would pass the test above for ever."""
    assert {"keyturn", "cryptography", "hashlib"} <= loaded_by("keyturn")
    assert "orjson" in loaded_by("orjson")


def test_unit_tests_reach_no_server() -> None:
    with pytest.raises(AssertionError, match="no sockets"):
        socket.create_connection(("127.0.0.1", 9))
    with socket.socket() as ours, pytest.raises(AssertionError, match="no sockets"):
        ours.connect(("127.0.0.1", 9))
