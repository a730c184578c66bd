"""Helpers for files, text, pictures, HTTP and cards, used by all other packages."""
