"""Settings of the service."""

import os
from dataclasses import dataclass, field

from dim.common.pictures import MAX_PIXELS
from dim.errors import DIMError

TOKEN_VARIABLE = "DIM_SERVE_TOKEN"


@dataclass(frozen=True)
class Settings:
    """Limits of a service; requests beyond them get an error.

    Args:
        max_batch: Mentions in a batch.
        max_wait: Seconds that a batch waits for more mentions.
        max_queue: Waiting mentions; more get status 429.
        timeout: Seconds for the body of a request to arrive, and again for the response.
        max_body: Bytes of a request's body.
        max_pixels: Pixels of a picture.
        max_memory: Bytes of all bodies and decoded pictures in memory; more get status 429.
        fetch_urls: Whether pictures may be `http` and `https` URLs, fetched from public addresses only.
        allowed_hosts: Accepted host names (the header `Host`), in lower case; empty for any.
        token: Token that changes of entities need as `Authorization: Bearer TOKEN`; `None` lets everybody change them.

    Raises:
        DIMError: If a number is out of range, or the token is not valid in a header.

    Example:

        >>> Settings(max_batch=0)
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: max_batch is 0: it must be at least 1.
    """

    max_batch: int = 32
    max_wait: float = 0.003
    max_queue: int = 1024
    timeout: float = 30.0
    max_body: int = 16_000_000
    max_pixels: int = 25_000_000
    max_memory: int = 1_000_000_000
    fetch_urls: bool = False
    allowed_hosts: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_queue", "max_body", "max_pixels", "max_memory"):
            if getattr(self, name) < 1:
                raise DIMError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        if self.max_pixels > MAX_PIXELS:
            raise DIMError(f"max_pixels is {self.max_pixels}: it must be at most {MAX_PIXELS}.")
        if not self.timeout > 0:
            raise DIMError(f"timeout is {self.timeout}: it must be above 0.")
        if not 0 <= self.max_wait < self.timeout:
            raise DIMError(f"max_wait is {self.max_wait}: it must lie between 0 and the timeout, {self.timeout}.")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.split()):
            raise DIMError("The token must be printable ASCII and not empty.")


def token_from_environment() -> str | None:
    """Returns the token in [`TOKEN_VARIABLE`], or `None`; as an argument of the command, `ps` would show it.

    Example:

        >>> settings = Settings(token=token_from_environment(), allowed_hosts=("linker.example.org",))
        >>> "token" in repr(settings)  # so that no log shows it
        False
    """
    return os.environ.get(TOKEN_VARIABLE)
