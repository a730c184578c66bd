"""Limit on the memory that all requests hold together."""

from dim.serving.refusals import BusyError, ServiceError


class MemoryBudget:
    """Number of bytes that all requests together may hold.

    Args:
        limit: The number.

    Example:

        >>> budget = MemoryBudget(10)
        >>> with budget.lease() as lease:
        ...     lease.take(8)
        ...     budget.held
        8
        >>> budget.held
        0
    """

    def __init__(self, limit: int):
        self.limit, self.held = limit, 0

    def lease(self) -> "Lease":
        """Returns the share of one request, a context manager that releases it at the end."""
        return Lease(self)


class Lease:
    """Share of one request in a budget.

    Args:
        budget: The budget.
    """

    def __init__(self, budget: MemoryBudget):
        self._budget, self._held = budget, 0

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *error: object) -> None:
        self._budget.held -= self._held
        self._held = 0

    def take(self, count: int) -> None:
        """Takes bytes from the budget.

        Args:
            count: How many.

        Raises:
            BusyError: If other requests hold too much at the moment.
            ServiceError: If the request alone exceeds the budget.
        """
        if self._held + count > self._budget.limit:
            raise ServiceError(413, "The request with its pictures needs more memory than the service has.")
        if self._budget.held + count > self._budget.limit:
            raise BusyError("The memory for bodies and pictures is full")
        self._budget.held += count
        self._held += count
