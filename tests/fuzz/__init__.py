"""Hostile requests of all kinds against a running gateway, and who watches what they do to it.

Every run is another one: the seed is the time, printed, and ``FUZZ_SEED`` repeats it.
``python -m tests.fuzz --minutes 60`` goes on for as long as wanted.
"""

from __future__ import annotations

import os
import time

SEED = int(os.environ.get("FUZZ_SEED") or time.time())
