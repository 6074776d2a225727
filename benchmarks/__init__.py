"""What the gateway costs: ``benchmarks.overhead``, ``benchmarks.inprocess`` (run with -m)."""
