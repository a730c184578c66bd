"""Encoding of mentions and entities, and the features of the lexical prior."""
