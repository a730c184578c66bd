"""`dim audit`: what a dataset leaks or lacks."""
