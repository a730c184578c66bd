"""Measuring a linker: ranks and metrics (`ranking`), how sure they are (`intervals`), what to beat (`baselines`)."""
