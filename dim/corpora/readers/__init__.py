"""Readers of raw releases, one module a layout: from their files to mentions and entities."""
