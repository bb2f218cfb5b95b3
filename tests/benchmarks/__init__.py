"""Benchmarks: `python -m tests.benchmarks --help`. A server on one core, the load on another, ratios of CPU time."""
