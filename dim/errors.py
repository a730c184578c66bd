"""The errors that DIM raises for invalid input: [`DIMError`] and its subclasses."""

from .errors_dim import DIMError

__all__ = ["DIMError"]
