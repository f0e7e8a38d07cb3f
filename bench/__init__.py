"""Benchmarks of the running service. `make bench` runs them all and writes bench/REPORT.md."""
