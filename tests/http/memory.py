"""How much memory a server's process takes, from the kernel.

with peak_growth(server.pid) as growth:
    ...
assert growth.bytes < 10_000_000
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1_048_576


@dataclass
class Growth:
    """How many bytes a process had more, at its highest, than before; known when the block ends."""

    bytes: int = -1


@contextmanager
def peak_growth(pid: int) -> Iterator[Growth]:
    """Watch a process of this user."""
    status = Path(f"/proc/{pid}/status")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts anew, from what it has now: proc(5)
    before = _kilobytes(status.read_text(), "VmRSS")
    growth = Growth()
    yield growth
    growth.bytes = max(0, _kilobytes(status.read_text(), "VmHWM") - before) * 1024


def _kilobytes(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+([0-9]+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])
