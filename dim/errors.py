"""The errors that DIM raises for bad input: [`DIMError`] and its children."""

from .errors_dim import DIMError

__all__ = ["DIMError"]
