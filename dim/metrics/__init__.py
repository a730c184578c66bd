"""Ranks, ranking metrics, confidence intervals, calibration error, NIL detection, and evaluation protocols."""
