"""New descriptions of entities by a language model."""
