"""DIM as a part of other libraries."""
