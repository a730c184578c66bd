"""How much memory requests may hold together."""

from dim.serving.errors import BusyError, ServiceError


class Budget:
    """Bytes that all requests together may hold.

    Args:
        most: How many.

    Example:

        >>> budget = Budget(10)
        >>> with budget.lease() as lease:
        ...     lease.take(8)
        ...     budget.held
        8
        >>> budget.held
        0
    """

    def __init__(self, most: int):
        self.most, self.held = most, 0

    def lease(self) -> "Lease":
        """The share of one request, given back at the end of a `with`."""
        return Lease(self)


class Lease:
    """What one request holds of a budget.

    Args:
        budget: The budget.
    """

    def __init__(self, budget: Budget):
        self._budget, self._held = budget, 0

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *error: object) -> None:
        self._budget.held -= self._held
        self._held = 0

    def take(self, count: int) -> None:
        """Takes so many bytes.

        Args:
            count: How many.

        Raises:
            BusyError: If others hold what is missing.
            ServiceError: If there would not be as many without them.
        """
        if self._held + count > self._budget.most:
            raise ServiceError(413, "The request with its pictures needs more memory than the service has.")
        if self._budget.held + count > self._budget.most:
            raise BusyError("The service holds as many bodies and pictures as it has memory for")
        self._budget.held += count
        self._held += count


__all__ = ["Budget", "Lease"]
