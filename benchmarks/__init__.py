"""What the gateway costs: ``python -m benchmarks.overhead`` and ``python -m benchmarks.inprocess``."""
