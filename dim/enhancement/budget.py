"""Prices of answers, and bounds of what a run may cost."""

import asyncio
from dataclasses import dataclass

from dim.enhancement.answers import Request
from dim.errors import DIMError


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars per million tokens, from the price list of your provider; none are built in.

    Args:
        input: Price of requests.
        output: Price of answers.

    Raises:
        DIMError: If a price is negative or not finite.

    Example:

        >>> Prices(input=2.0, output=10.0).cost(1_000_000, 50_000)
        2.5
    """

    input: float
    output: float

    def __post_init__(self) -> None:
        if not (0 <= self.input < float("inf") and 0 <= self.output < float("inf")):
            raise DIMError(f"Prices must be 0 or more dollars per million tokens, got {self.input}, {self.output}.")

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Cost of so many tokens, in dollars."""
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


class Budget:
    """Bounds in dollars and tokens that hold at any moment: a request is only sent if its worst case fits.

    Where a server charges more than a request's worst case (it ignores the limit, or adds a prompt of its own), the
    later ones are expected to exceed theirs by as much.

    Args:
        prices: Needed for `max_cost`.
        max_cost: Dollars, those of earlier runs included.
        max_tokens: Tokens of requests and answers, those of earlier runs included.
        spent: Tokens of requests and of answers so far.

    Raises:
        DIMError: If a bound is not positive, or `max_cost` is given without `prices`.

    Example:

        >>> from dim.enhancement.answers import Question
        >>> from dim.enhancement.entity_text import EntityText
        >>> from dim.enhancement.prompts import load_prompt
        >>> request = Question("qwen", load_prompt("paper"), max_answer_tokens=300).about(EntityText("e1", "Ada"))
        >>> prices = Prices(input=2.0, output=10.0)  # 300 tokens of an answer: 0.003 dollars
        >>> Budget(prices, max_cost=0.01).fits(request), Budget(prices, max_cost=0.002).fits(request)
        (True, False)
    """

    def __init__(
        self,
        prices: Prices | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        spent: tuple[int, int] = (0, 0),
    ) -> None:
        if max_cost is not None and prices is None:
            raise DIMError("--max-cost needs --price-input and --price-output: prices are never guessed.")
        for name, bound in (("--max-cost", max_cost), ("--max-tokens", max_tokens)):
            if bound is not None and not bound > 0:
                raise DIMError(f"{name} is {bound}: it must be above 0.")
        self.prices, self.max_cost, self.max_tokens = prices, max_cost, max_tokens
        self._inputs, self._outputs = spent
        self._pending: dict[str, tuple[int, int]] = {}  # what is reserved for requests that are on the way
        self._excess = (0, 0)  # by which an answer exceeded its worst case, at most
        self._changed = asyncio.Condition()
        self.exhausted = False

    def fits(self, request: Request) -> bool:
        """Whether the bounds hold in the worst case of this request and of all that are on the way."""
        most = self._worst(request)
        inputs, outputs = self._inputs + most[0], self._outputs + most[1]
        if self.max_tokens is not None and inputs + outputs > self.max_tokens:
            return False
        return self.prices is None or self.max_cost is None or self.prices.cost(inputs, outputs) <= self.max_cost

    def _worst(self, request: Request) -> tuple[int, int]:
        return request.most_tokens + self._excess[0], request.most_answer_tokens + self._excess[1]

    def spent(self, inputs: int, outputs: int) -> None:
        """Sets the tokens spent so far; only while no request is on the way."""
        self._inputs, self._outputs = inputs, outputs

    def take(self, request: Request) -> None:
        """Reserves the worst case of a request."""
        most = self._worst(request)
        self._inputs += most[0]
        self._outputs += most[1]
        self._pending[request.key] = most

    async def reserve(self, request: Request) -> bool:
        """Reserves the worst case of a request as soon as it fits.

        Args:
            request: The request to send.

        Returns:
            Whether it may be sent. `False` is final: no request is on the way that could turn out cheaper.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self.exhausted or self.fits(request) or not self._pending)
            if self.exhausted or not self.fits(request):
                self.exhausted = True
                self._changed.notify_all()
                return False
            self.take(request)
            return True

    async def settle(self, request: Request, spent: tuple[int, int]) -> None:
        """Replaces the worst case of a request by what it cost.

        Args:
            request: A request whose worst case is reserved.
            spent: Tokens of the request and of its answer, 0 if the server took nothing.
        """
        async with self._changed:
            reserved = self._pending.pop(request.key)
            self._inputs += spent[0] - reserved[0]
            self._outputs += spent[1] - reserved[1]
            bounds = (request.most_tokens, request.most_answer_tokens)
            over = [max(was, cost - bound) for was, cost, bound in zip(self._excess, spent, bounds, strict=True)]
            self._excess = (over[0], over[1])
            self._changed.notify_all()
