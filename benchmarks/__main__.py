"""``python -m benchmarks``: the gateway's own cost, see ``benchmarks.overhead``."""

import sys

from benchmarks.overhead import main

sys.exit(main())
