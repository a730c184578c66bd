"""Audit of datasets: leaks between splits, answers in ids and file names, missing data."""
