"""Linking: retrieval of candidates, ranking, calibration, and the linker."""
