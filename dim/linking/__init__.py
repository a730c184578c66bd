"""Linking: a knowledge base as vectors, exact search, and the linker."""
