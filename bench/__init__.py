"""Benchmarks: `make bench` runs all of them, `python -m bench.NAME` one; results are in bench/results/."""
