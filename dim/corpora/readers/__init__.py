"""Readers of raw releases, one module per layout."""
