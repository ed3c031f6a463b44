"""A small HTTP server in a thread, for the rows whose work is a real request."""

from __future__ import annotations

from choice import BACKEND, FAKE

if BACKEND == "gevent-patched":
    from gevent import monkey

    monkey.patch_all()

import http.server
import threading

import pytest
import work


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def http_server():
    if FAKE != "http":
        yield
        return
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        work.server = server.server_address
        yield
        server.shutdown()
        thread.join()
