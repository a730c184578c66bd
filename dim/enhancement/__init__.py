"""Descriptions of entities, written anew by a language model, durably and with their provenance."""
