"""The market: a real HTTP server on this machine, with four shops that all take a moment to answer."""

from __future__ import annotations

import http.server
import json
import threading
import time
from typing import TYPE_CHECKING, Self

from shop.offers import SHOPS

if TYPE_CHECKING:
    from types import TracebackType

PRICES = {
    "lamp": {"Arcade": "21.50", "Bazaar": "19.00", "Corner": "17.90", "Depot": "24.00"},
    "chair": {"Arcade": "49.00", "Bazaar": "55.25", "Corner": "61.00", "Depot": "52.80"},
}
THINKING = 0.02
"""Seconds until a shop has found a price."""


class Market:
    """Serves `POST /login` and `GET /prices/SHOP/PRODUCT` in a thread of its own, for the length of a `with` block.

    It takes no price request without the token that a login gave. The first one to *Corner* is always turned away
    with `503 Service Unavailable`: that shop has to unlock its door first, so whoever asks has to ask again.
    """

    def __init__(self) -> None:
        self.asleep = {"Corner"}
        self.logins = 0
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Counter)
        self._server.market = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="market")
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Counter(http.server.BaseHTTPRequestHandler):
    """Where one customer is served."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def do_POST(self) -> None:
        market: Market = self.server.market  # type: ignore[attr-defined]
        market.logins += 1
        self._answer(200, {"token": "let me in"})

    def do_GET(self) -> None:
        market: Market = self.server.market  # type: ignore[attr-defined]
        _, _, shop, product = self.path.split("/")
        # In a thread per connection this holds up nobody else: the plugin does not mind a sleep here.
        time.sleep(THINKING)
        if self.headers["Authorization"] != "let me in":
            self._answer(401, {"error": "log in first"})
        elif shop not in SHOPS or product not in PRICES:
            self._answer(404, {"error": f"no {product} at {shop}"})
        elif shop in market.asleep:
            market.asleep.remove(shop)
            self._answer(503, {"error": "one moment, please"})
        else:
            self._answer(200, {"price": PRICES[product][shop]})

    def _answer(self, status: int, content: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing: the customers report."""
