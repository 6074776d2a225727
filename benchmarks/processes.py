"""Processes on a core of their own, and what they use."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(
    command: list[str], core: int | None, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process (and its children) kept on ``core`` until the end; its output in a file."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        if core is not None:  # before it has threads or children: they inherit it
            os.sched_setaffinity(process.pid, {core})
        try:
            yield process
        except BaseException:
            output.seek(0)
            status = process.poll()
            state = "running" if status is None else f"ended with status {status}"
            words = output.read()[-4000:].decode(errors="replace")
            print(f"--- {' '.join(command)} ({state})\n{words}")
            raise
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float, key: str = "") -> None:
    """Until ``url`` answers 200."""
    deadline = time.monotonic() + seconds
    request = Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"exit status {process.returncode} before {url} answered")
        with suppress(OSError), urlopen(request, timeout=5) as response:
            if response.status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(url)


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of processes: in nanoseconds by the scheduler's account of each thread
    where the kernel keeps one, else in clock ticks from /proc/PID/stat."""
    total = 0.0
    for pid in pids:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        try:
            times = [int((t / "schedstat").read_text().split()[0]) for t in threads]
            total += sum(times) / 1e9
        except OSError:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def memory_bytes(pids: list[int]) -> int:
    """Resident memory."""
    return sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) * PAGE for p in pids)
