from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from shop.offers import Offer
from shop.on_trio import forgotten_sleep, lock_too_long, one_by_one, right

if TYPE_CHECKING:
    from types import ModuleType

    from shop.market import Market

pytestmark = [
    pytest.mark.trio,
    pytest.mark.parametrize(
        "version",
        [
            pytest.param(right, id="right"),
            pytest.param(one_by_one, id="one_by_one"),
            pytest.param(forgotten_sleep, id="forgotten_sleep"),
            pytest.param(lock_too_long, id="lock_too_long"),
        ],
    ),
]


async def test_finds_the_best_offer(version: ModuleType, market: Market) -> None:
    assert await version.cheapest(market.url, "lamp") == Offer(Decimal("17.90"), "Corner")
    assert market.logins == 1


@pytest.mark.must_overlap("shop.wire:get_offer", at_least=4)
async def test_asks_all_shops_at_once(version: ModuleType, market: Market) -> None:
    await version.cheapest(market.url, "lamp")


@pytest.mark.must_not_block
async def test_leaves_the_event_loop_free(version: ModuleType, market: Market) -> None:
    await version.cheapest(market.url, "lamp")
