"""Run the benchmarks: all of them, or those that are named."""

from __future__ import annotations

import argparse

from benchmarks import gateway, http, in_process, scale

PARTS = {"in-process": in_process.run, "http": http.run, "gateway": gateway.run, "scale": scale.run}


def main() -> None:
    """Run what is named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "part", nargs="*", choices=[*PARTS, []], help=f"of {', '.join(PARTS)}; all by default"
    )
    for name in parser.parse_args().part or PARTS:
        print(f"\n== {name}", flush=True)
        PARTS[name]()


if __name__ == "__main__":
    main()
