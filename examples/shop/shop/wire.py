"""The two requests that a market understands. httpx speaks on asyncio and on trio alike."""

from __future__ import annotations

from decimal import Decimal

import httpcore  # noqa: F401  # httpx would import it with its first client, while the event loop waits
import httpx

from shop.offers import Offer


class ClosedError(Exception):
    """The shop is there, but not ready yet."""


def connect(url: str) -> httpx.AsyncClient:
    """Return a client for the market at *url*, to be used as an `async with` block."""
    # The market is on this machine: there is no proxy on the way and no certificate to check.
    return httpx.AsyncClient(base_url=url, trust_env=False, verify=False, timeout=10)


async def log_in(market: httpx.AsyncClient) -> str:
    """Return the token that every further request has to show."""
    response = await market.post("/login")
    response.raise_for_status()
    return response.json()["token"]


async def get_offer(market: httpx.AsyncClient, token: str, shop: str, product: str) -> Offer:
    """Ask one shop for its price.

    Raises:
        ClosedError: It wants to be asked again in a moment.
    """
    response = await market.get(f"/prices/{shop}/{product}", headers={"Authorization": token})
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise ClosedError(shop)
    response.raise_for_status()
    return Offer(Decimal(response.json()["price"]), shop)
