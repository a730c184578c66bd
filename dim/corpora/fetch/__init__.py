"""`dim fetch-images`: downloads the pictures that a raw release names by URL."""
