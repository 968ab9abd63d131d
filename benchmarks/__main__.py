"""Run the benchmarks: all of them, or those that are named."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import gateway, generation, http, in_process, middleware, rotation, scale, start_up
from benchmarks.stores import Stores

PARTS = {
    "generation": generation.run,
    "in-process": in_process.run,
    "http": http.run,
    "gateway": gateway.run,
    "middleware": middleware.run,
    "start-up": start_up.run,
    "scale": scale.run,
    "rotation": rotation.run,
}


def main() -> None:
    """Run what is named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "part", nargs="*", choices=[*PARTS, []], help=f"of {', '.join(PARTS)}; all by default"
    )
    parts = parser.parse_args().part or PARTS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the servers that a part has started
    with tempfile.TemporaryDirectory(prefix="keyturn-bench-") as folder:
        stores = Stores(Path(folder))
        for name in parts:
            print(f"\n== {name}", flush=True)
            PARTS[name](stores)


if __name__ == "__main__":
    main()
