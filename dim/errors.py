"""The errors that DIM raises for invalid input: [`DIMError`] and its subclasses."""

from .errors_dim import DIMError, PictureError

__all__ = ["DIMError", "PictureError"]
