"""``python -m gemma_gateway``: the command line."""

import sys

from gemma_gateway.cli.main import main

sys.exit(main())
