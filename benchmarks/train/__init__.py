"""How fast training is beside what a user would pick instead: `python -m benchmarks.train`, `make bench`."""
