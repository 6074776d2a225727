"""``python -m tests.network``: every drill at full length; the figures go to docs/resilience.md.

Root, and Debian's packages of scripts/network-deps.sh and scripts/test-deps.sh, are needed.
``--short`` runs them as CI does.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.network.figures import FILE_VARIABLE

ROOT = Path(__file__).parent.parent.parent
os.environ.setdefault(FILE_VARIABLE, str(ROOT / "docs" / "resilience.md"))
os.environ["CI"] = "true"  # what is missing is an error, not a reason to skip
if "--short" not in sys.argv:
    os.environ |= {"NETWORK_CUT_SECONDS": "60", "NETWORK_IDLE_STREAMS": "2000"}
sys.exit(pytest.main([str(ROOT / "tests" / "network"), "-v", "-s"]))
