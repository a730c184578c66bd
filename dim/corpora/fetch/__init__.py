"""`dim fetch-images`: the pictures that a raw release names by URL."""
