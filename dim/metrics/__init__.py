"""Ranks, metrics, confidence intervals, calibration error, NIL, and the field's protocols."""
