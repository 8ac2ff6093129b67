"""A server that answers as https://pixabay.com/api/docs/ says, and a clock that does not wait."""

import collections
import http.server
import io
import json
import threading
import time
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from rba.data.pixabay.fetch import Fetcher, Secret, open_session
from rba.data.pixabay.limit import Clock, RateLimit

KEY = "12345678-9abc/def+0"  # with characters that change in a URL


class FakeClock(Clock):
    """Sleeping moves the time on at once; the server lives by the same clock."""

    def __init__(self, start=1_700_000_000.0):
        super().__init__()
        self.time = start
        self.slept = []
        self._moving = threading.Lock()

    def now(self):
        return self.time

    def elapsed(self):
        return self.time

    def sleep(self, seconds):
        super().sleep(0)
        with self._moving:
            self.slept.append(seconds)
            self.time += seconds


def jpeg(number):
    """A small picture that differs from number to number."""
    rng = np.random.default_rng(number)
    stream = io.BytesIO()
    pixels = np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((5, 5, 1), np.uint8))
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


class PixabayServer:
    """The API and its files on a port of this machine.

    ``found`` holds the numbers of the hits by query; ``flags`` what a hit says beyond the usual;
    ``faults`` answers that are given once each, by path (``api`` or a picture's number), before
    the true one. ``asked`` lists requests as (path, parameters).
    """

    def __init__(self, clock):
        self.clock = clock
        self.key = KEY
        self.requests_per_window = 100
        self.approved = False
        self.found = {}
        self.flags = collections.defaultdict(dict)
        self.faults = collections.defaultdict(list)
        self.bodies = {}
        self.asked = []
        self.delay = 0.0
        self.together = threading.Barrier(1)
        self.most_at_once = 0
        self._at_once = 0
        self._window = collections.deque()
        self._lock = threading.Lock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.root = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.root}/api/"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def searches(self):
        return [parameters for path, parameters in self.asked if path == "api"]

    def files(self):
        return [int(path) for path, _ in self.asked if path != "api"]

    def answer(self, url):
        """Return status, headers and body; a negative status closes the connection at once."""
        parts = urlsplit(url)
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name = "api" if parts.path == "/api/" else parts.path.rsplit("/", 1)[1].split("_")[0]
        with self._lock:
            self.asked.append((name, parameters))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if name != "api":
                self.together.wait(20)
                time.sleep(self.delay)
            with self._lock:
                if self.faults[name]:
                    return self.faults[name].pop(0)
                return self._search(parameters) if name == "api" else self._file(parts.path, name)
        finally:
            with self._lock:
                self._at_once -= 1

    def hit(self, number):
        def address(ending):
            return f"{self.root}/get/{int(self.clock.now())}/{number}_{ending}.jpg"

        user = {"user": "Josch13", "user_id": 48777}
        full = {"fullHDURL": address(1920), "imageURL": address("o")} if self.approved else {}
        return {
            "id": number, "pageURL": f"https://pixabay.com/photos/blossom-{number}/",
            "type": "photo", "tags": "blossom, bloom, flower", "webformatURL": address(640),
            "largeImageURL": address(1280), "imageWidth": 4000, "imageHeight": 2250,
            "imageSize": 4731420, "views": 7671, **user, **full, **self.flags[number],
        }  # fmt: skip

    def _search(self, asked):
        headers, crowded = self._count()
        if crowded:
            return 429, headers, b"[ERROR 429] API rate limit exceeded"
        if asked.get("key") != self.key:
            return 400, headers, b"[ERROR 400] Invalid or missing API key."
        if "id" in asked:
            known = {number for numbers in self.found.values() for number in numbers}
            hits = [self.hit(int(asked["id"]))] if int(asked["id"]) in known else []
            return 200, headers, _json(total=len(hits), totalHits=len(hits), hits=hits)
        if len(asked.get("q", "")) > 100:
            return 400, headers, b'[ERROR 400] "q" exceeds 100 characters.'
        per_page, page = int(asked.get("per_page", 20)), int(asked.get("page", 1))
        if not 3 <= per_page <= 200:
            return 400, headers, b'[ERROR 400] "per_page" is out of valid range.'
        numbers = self.found.get(asked.get("q", ""), [])
        total = min(len(numbers), 500)
        if page < 1 or page > max(1, -(-total // per_page)):
            return 400, headers, b'[ERROR 400] "page" is out of valid range.'
        shown = numbers[:total][(page - 1) * per_page : page * per_page]
        hits = [self.hit(number) for number in shown]
        return 200, headers, _json(total=len(numbers), totalHits=total, hits=hits)

    def _count(self):
        now = self.clock.now()
        while self._window and self._window[0] <= now - 60:
            self._window.popleft()
        crowded = len(self._window) >= self.requests_per_window
        if not crowded:
            self._window.append(now)
        reset = int(self._window[0] + 60 - now) + 1
        left = self.requests_per_window - len(self._window)
        return {
            "X-RateLimit-Limit": str(self.requests_per_window),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": str(reset),
        }, crowded

    def _file(self, path, name):
        if self.clock.now() - int(path.split("/")[2]) >= 24 * 3600:
            return 404, {}, b"gone"
        return 200, {"Content-Type": "image/jpeg"}, self.bodies.get(int(name)) or jpeg(int(name))


def _json(**fields):
    return json.dumps(fields).encode()


def _handler(server):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, headers, body = server.answer(self.path)
            self.close_connection = status < 0 or "Cut" in headers
            if status < 0:
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) + int(headers.get("Cut", 0))))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Keep the tests' output clean."""

    return Handler


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def server(clock):
    server = PixabayServer(clock)
    yield server
    server.close()


@pytest.fixture
def real_server():
    server = PixabayServer(Clock())
    yield server
    server.close()


@pytest.fixture
def fetcher(clock):
    """What asks; ten requests in 60 seconds unless the server says less."""
    with open_session(2) as session:
        limit = RateLimit(clock, 10, 60.0)
        yield Fetcher(session, limit, secret=Secret(KEY), retries=3, timeout=5.0)


@pytest.fixture
def picture():
    return jpeg
