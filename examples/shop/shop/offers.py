"""What a shop says when it is asked for a price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

SHOPS = ("Arcade", "Bazaar", "Corner", "Depot")


@dataclass(frozen=True, order=True)
class Offer:
    """A price and who asks it; the lowest price sorts first."""

    price: Decimal
    shop: str
