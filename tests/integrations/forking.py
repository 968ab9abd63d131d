"""A program that forks again and again while its threads verify, and whose children verify as well.

    python -m tests.integrations.forking <children>

Its guard is in GUARD, a key in EARLY. It prints how often that was found valid, by itself and by its children.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings

from keyturn.integrations import Guard
from keyturn.integrations.required import Required
from keyturn.serving.refusals import RefusedError
from tests.integrations.applications.configured import OPTIONS, URL
from tests.integrations.heads import bearer

IN_A_CHILD = 3
HEAD = bearer(os.environ["EARLY"])
GUARD = Guard(URL, **OPTIONS)


def verify(times: int) -> None:
    """Be found valid so often. On a busy machine a store may be too slow to tell: that is no answer yet."""
    deadline = time.monotonic() + 60
    while times:
        try:
            GUARD.check(HEAD, Required())
            times -= 1
        except RefusedError as refused:
            if refused.refusal.status != 503 or time.monotonic() > deadline:
                raise


def main() -> None:
    children, is_over, counts, failed = int(sys.argv[1]), threading.Event(), [0, 0, 0], 0

    def go_on(thread: int) -> None:
        while not is_over.is_set():
            verify(1)
            counts[thread] += 1
            time.sleep(0.001)

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(len(counts))]
    verify(1)
    for thread in threads:
        thread.start()
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            verify(IN_A_CHILD)
            sys.exit(0)  # as a program ends: what it has registered for its end is done
        failed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    is_over.set()
    for thread in threads:
        thread.join()
    assert not failed
    print(1 + sum(counts) + children * IN_A_CHILD)


if __name__ == "__main__":
    # Newer Pythons warn of forks beside threads, which is what is tested here.
    warnings.simplefilter("ignore", DeprecationWarning)
    main()
