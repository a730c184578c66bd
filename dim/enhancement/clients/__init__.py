"""Clients of language models: the protocol that a provider implements, and the client of OpenAI-compatible servers."""
