"""The price comparison with all shops at once, and no second login while the first one is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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
        self._door = asyncio.Lock()

    async def _request(self, shop: str, product: str) -> Offer:
        async with self._door:
            if self._token is None:
                self._token = await log_in(self._market)
            return await get_offer(self._market, self._token, shop, product)

    async def ask(self, shop: str, product: str) -> Offer:
        """Return the shop's offer, however often it has to be asked."""
        for attempt in range(ATTEMPTS):
            try:
                return await self._request(shop, product)
            except ClosedError:
                await asyncio.sleep(pause_after(attempt))
        raise ClosedError(shop)


async def cheapest(url: str, product: str) -> Offer:
    """Return the best offer for *product* on the market at *url*."""
    async with connect(url) as market:
        customer = Customer(market)
        return min(await asyncio.gather(*(customer.ask(shop, product) for shop in SHOPS)))
