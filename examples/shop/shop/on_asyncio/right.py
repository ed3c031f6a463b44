"""The price comparison as it should be: one login, and then all shops at once."""

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

    async def _login(self) -> str:
        async with self._door:
            if self._token is None:
                self._token = await log_in(self._market)
        return self._token

    async def ask(self, shop: str, product: str) -> Offer:
        """Return the shop's offer, however often it has to be asked."""
        for attempt in range(ATTEMPTS):
            try:
                return await get_offer(self._market, await self._login(), shop, product)
            except ClosedError:
                await asyncio.sleep(pause_after(attempt))
        raise ClosedError(shop)


async def cheapest(url: str, product: str) -> Offer:
    """Return the best offer for *product* on the market at *url*."""
    async with connect(url) as market:
        customer = Customer(market)
        return min(await asyncio.gather(*(customer.ask(shop, product) for shop in SHOPS)))
