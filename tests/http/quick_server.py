"""A real server in whose world time passes SPEED times as fast: what takes an hour elsewhere is over in seconds.

    with RunningServer(url, QUICKLY) as server: ...

Only the clock on its wall is quick; how long a read of the store may take, and how stale a node may be, is as usual.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Final

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node, initialise, open_node
from keyturn.domain.instants import from_micros
from keyturn.domain.secret import Secret
from keyturn.server.serving import bind, serve
from tests.running_server import KEK

QUICKLY: Final = (sys.executable, "-m", "tests.http.quick_server")
SPEED: Final = 300
_STEP_SECONDS: Final = 0.05


class QuickClock:
    """The wall goes SPEED seconds a second."""

    def __init__(self) -> None:
        self._began = time.monotonic_ns()
        self._wall = time.time_ns()

    def nanos(self) -> int:
        return self._wall + (time.monotonic_ns() - self._began) * SPEED

    def now(self) -> datetime:
        return from_micros(self.nanos() // 1_000).astimezone(UTC)

    def steady(self) -> float:
        return time.monotonic()


def take_steps(node: Node) -> None:
    """What the background does every half minute, as often as suits such a clock."""
    while True:
        for _ in node.rotation.scheduler.work():
            pass
        time.sleep(_STEP_SECONDS)


def main() -> None:
    url, wrapper, clock = os.environ["KEYTURN_STORE"], LocalKeyWrapper(Secret(KEK)), QuickClock()
    first = initialise(url, wrapper, with_first_key=True, clock=clock)
    assert first is not None
    listener = bind("127.0.0.1", 0)
    node = open_node(url, wrapper, clock=clock)
    threading.Thread(target=take_steps, args=(node,), daemon=True).start()
    sys.stdout.write(f"{first.secret.reveal()}\nhttp://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    serve(node, listener)
    node.close()


if __name__ == "__main__":
    main()
