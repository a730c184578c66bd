"""Mentions and entities as vectors, and the features of the lexical prior."""
