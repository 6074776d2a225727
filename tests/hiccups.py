"""``python -m tests.hiccups pytest ...``: run tests on a machine that stumbles.

A shared machine takes its processor away for moments: from all processes at once, or from one while
the others go on. This does both on purpose, as long as the command runs, so that a test that
relies on the machine's speed fails here and not one time in a hundred. (What a test freezes itself
may go on too soon here: nobody can tell who has stopped a process.)
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

LONGEST = 0.4  # seconds that a process is held at most; what other tenants take is rarely longer
PAUSE = 1.5  # seconds between two moments at most


def below(root: int) -> list[int]:
    """The processes that descend from ``root`` and run: one that a test froze is left alone."""
    children: dict[int, list[int]] = {}
    running = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            children.setdefault(int(parent), []).append(int(entry.name))
            if state in "RSD":
                running.add(int(entry.name))
    found, todo = [], [root]
    while todo:
        todo += (below := children.get(todo.pop(), []))
        found += [pid for pid in below if pid in running]
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to those that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def main() -> int:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.hiccups", description=__doc__)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    child = subprocess.Popen(parser.parse_args().command)
    moments = 0
    while child.poll() is None:
        time.sleep(random.uniform(0.05, PAUSE))
        pids = below(os.getpid())
        if random.random() < 0.5 and pids:
            pids = random.sample(pids, 1 + len(pids) // 8)
        send(pids, signal.SIGSTOP)
        time.sleep(random.uniform(0.02, LONGEST))
        send(pids, signal.SIGCONT)
        moments += 1
    print(f"held {moments} times", file=sys.stderr)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
