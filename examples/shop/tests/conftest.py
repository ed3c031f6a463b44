from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shop.market import Market

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def market() -> Iterator[Market]:
    with Market() as market:
        yield market
