"""The site that `crawler.py` visits: made up, and served by this process on a free port.

Pages link to each other. Some are slow, some answer only when asked again, some are
missing, one never answers, and the archive is down.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGES = 60
SLOW = range(5, PAGES, 10)
BUSY_AT_FIRST = {7, 21, 33}
MISSING = {12, 40, 41}
STUCK = 17
ARCHIVED = 15  # /archive/0 ... are linked from as many pages
SLOWNESS = 0.2  # seconds


class Site:
    """What is served, and what was asked for: requests by path, and how many at once."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.requests: Counter[str] = Counter()
        self.most_at_once: dict[str, int] = {"page": 0, "archive": 0}
        self._at_once: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def start(self) -> str:
        """Where to begin."""
        return f"{self.address}/page/0"

    def answer(self, path: str) -> tuple[HTTPStatus, str]:
        """The status and the text of one page."""
        kind, _, name = path.strip("/").partition("/")
        with self._lock:
            self.requests[path] += 1
            times = self.requests[path]
            self._at_once[kind] += 1
            self.most_at_once[kind] = max(self.most_at_once[kind], self._at_once[kind])
        try:
            if kind == "archive":
                return HTTPStatus.INTERNAL_SERVER_ERROR, "the archive is closed"
            return self._page(int(name), times)
        finally:
            with self._lock:
                self._at_once[kind] -= 1

    def _page(self, number: int, times: int) -> tuple[HTTPStatus, str]:
        if number in MISSING:
            return HTTPStatus.NOT_FOUND, "there is no such page"
        if number in BUSY_AT_FIRST and times == 1:
            return HTTPStatus.SERVICE_UNAVAILABLE, "ask again"
        if number == STUCK:
            self.closing.wait(30)
        elif number in SLOW:
            time.sleep(SLOWNESS)
        links = [f"/page/{link}" for link in (2 * number + 1, 2 * number + 2) if link < PAGES]
        links.append(f"/page/{max(0, number - 1) // 2}")  # back to where one came from
        if number < ARCHIVED:
            links.append(f"/archive/{number}")
        return HTTPStatus.OK, " ".join(f'<a href="{link}">{link}</a>' for link in links)


@contextmanager
def served() -> Iterator[Site]:
    """Serves the site while the block runs."""
    site = Site("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = site.answer(self.path)
            body = text.encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:  # whoever asked has not waited for the answer
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as it is called
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        site.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.closing.set()
            server.shutdown()
            thread.join()
