"""The rows of `benchmarks/gpu.py`, one module each, with a function `measure(tiny, work)`."""
