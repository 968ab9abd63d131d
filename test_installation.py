"""Whether Keyturn works on this machine, for whoever has just installed it.

    python test_installation.py             # what was found, and what to mend
    python test_installation.py --json      # for programs

It is `keyturn doctor`, which changes nothing. The tests of Keyturn itself are in tests/: `make test`.
"""

import sys

if __name__ == "__main__":
    try:
        from keyturn.cli import main
    except ImportError as error:
        sys.exit(
            f"This Python, {sys.executable}, cannot import Keyturn: {error}\n"
            "  fix: Run 'make serve' once and use .venv/bin/python, or run 'pip install .' here."
        )
    sys.exit(main(["doctor", *sys.argv[1:]]))
