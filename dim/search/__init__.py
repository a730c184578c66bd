"""Search over the texts and vectors of a knowledge base."""
