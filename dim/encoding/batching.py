"""Batches of rows of similar length."""

from collections.abc import Sequence


def longest_first(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Divides rows into batches of similar length, to reduce padding. The longest come first, so that a lack of memory
    shows in the first batch.

    Args:
        lengths: Length of each row, in tokens or any other measure.
        batch_size: Maximum number of rows in a batch.

    Returns:
        The row indices of each batch; rows of equal length stay in order. `results[batch] = part` restores the order
        of the rows.

    Example:

        >>> longest_first([3, 9, 4, 9, 1], batch_size=2)
        [[1, 3], [2, 0], [4]]
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
