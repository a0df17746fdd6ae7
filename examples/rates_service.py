"""A stand-in for a service of exchange rates, for ``async_enrichment``: ``python -m examples.rates_service``."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RATES = {"EUR": "1", "SEK": "0.09", "USD": "0.92"}


class RatesHandler(BaseHTTPRequestHandler):
    """Answers ``/rates/USD`` with ``{"euros": "0.92"}``."""

    def do_GET(self) -> None:
        currency = self.path.rpartition("/")[2]
        body = json.dumps({"euros": RATES.get(currency)}).encode()
        self.send_response(200 if currency in RATES else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Keep quiet."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 8080), RatesHandler) as server:
        print("exchange rates at http://127.0.0.1:8080/rates, until Ctrl-C")
        server.serve_forever()
