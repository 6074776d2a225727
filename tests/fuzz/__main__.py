"""``python -m tests.fuzz --minutes 60``: everything hostile, for as long as wanted, in front of a
loopback engine; a line a minute says how the gateway bears it."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from itertools import count
from pathlib import Path

from tests.fuzz import SEED
from tests.fuzz.requests import hostile
from tests.fuzz.storm import Storm
from tests.fuzz.target import fire_all, well
from tests.fuzz.watch import MB, MODEL, Watch
from tests.process import Engine, Gateway

FLAT = 32 * MB  # growth of memory from the first third of the run to its end


def run(gateway: Gateway, seconds: float, bystander_key: str) -> None:
    """Fire for so long.

    Raises:
        AssertionError: what was seen was not as it should be.
    """
    storm, began, told, settled = Storm(gateway), time.monotonic(), 0.0, 0
    with Watch(gateway, bystander_key) as watch:
        storm.start()
        for turn in count():
            past = time.monotonic() - began
            if past >= seconds or not storm.well:
                break
            if past > seconds / 3:
                settled = settled or watch.resident()
            if past >= told:
                print(f"{past / 60:4.0f} min: {watch.say()}", flush=True)
                told += 60
            fire_all(gateway, hostile, 200, 60, turn)
        storm.stop()
        storm.join()
    for kind, statuses in storm.statuses.items():
        print(f"{kind}: {statuses.total()}: {dict(sorted(statuses.items()))}")
    print(watch.say())
    assert not watch.bystander.broken, watch.bystander.broken
    assert watch.bystander.streams
    assert watch.resident() - settled < FLAT, "memory grows"
    well(gateway)


def main() -> None:
    """Start both processes, and fire."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    minutes = parser.parse_args().minutes
    print(f"FUZZ_SEED={SEED}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "gateway.yaml"
        digest = hashlib.sha256(b"bystander").hexdigest()
        config.write_text(f"keys:\n  - {{name: bystander, sha256: {digest}}}\n", encoding="utf-8")
        with (
            Engine(folder) as engine,
            Engine(folder, 0, "--models", MODEL) as other,
            Gateway(
                folder,
                config=config,
                upstreams=f"{engine.url}/v1,{other.url}/v1",
                eject_after=1_000_000,
            ) as gateway,
        ):
            run(gateway, minutes * 60, "bystander")


if __name__ == "__main__":
    main()
