"""The price comparison as it should be: one login, and then all shops at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from shop.offers import SHOPS, Offer
from shop.retry import ATTEMPTS, pause_after
from shop.wire import ClosedError, connect, get_offer, log_in

if TYPE_CHECKING:
    import httpx


class Customer:
    """Somebody who logs in to the market once and then asks many shops."""

    def __init__(self, market: httpx.AsyncClient) -> None:
        self._market = market
        self._token: str | None = None
        self._door = trio.Lock()
        self.offers: list[Offer] = []

    async def _login(self) -> str:
        async with self._door:
            if self._token is None:
                self._token = await log_in(self._market)
        return self._token

    async def ask(self, shop: str, product: str) -> None:
        """Add the shop's offer to `offers`, however often it has to be asked."""
        for attempt in range(ATTEMPTS):
            try:
                self.offers.append(await get_offer(self._market, await self._login(), shop, product))
                return
            except ClosedError:
                await trio.sleep(pause_after(attempt))
        raise ClosedError(shop)


async def cheapest(url: str, product: str) -> Offer:
    """Return the best offer for *product* on the market at *url*."""
    async with connect(url) as market:
        customer = Customer(market)
        async with trio.open_nursery() as nursery:
            for shop in SHOPS:
                nursery.start_soon(customer.ask, shop, product)
        return min(customer.offers)
