"""A server of files on this machine that fails on demand, and remote sets of shards."""

import contextlib
import functools
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rba.batch import Mode
from rba.data.shards import ShardSet
from rba.data.storage.settings import StorageSettings


class FileServer:
    """Serves a folder over http, with ranges. What it should do wrong is set on it.

    Attributes:
        faults: Called with name and range of each GET; returns None for a good answer, a status,
            other bytes for the file, or "break": half of the bytes, then the connection ends.
        ranges: Whether it knows ranges.
        requests: (method, name, range or None) of each request so far.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults = lambda name, span: None
        self.ranges = True
        self.requests: list[tuple[str, str, tuple[int, int] | None]] = []
        self._server: ThreadingHTTPServer | None = None
        self.connections: set[socket.socket] = set()
        self.port = 0

    def start(self) -> None:
        handler = functools.partial(_Handler, self)
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.folder.name}"

    def bytes_asked(self, name: str) -> int:
        """How many bytes of a file were asked for."""
        spans = [span for method, asked, span in self.requests if (method, asked) == ("GET", name)]
        return sum(stop - start for start, stop in filter(None, spans))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: FileServer, *args) -> None:
        self.files = server
        super().__init__(*args)

    def setup(self) -> None:
        super().setup()
        self.files.connections.add(self.connection)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        name = self.path.rpartition("/")[2]
        span = self._span()
        self.files.requests.append((self.command, name, span))
        path = self.files.folder / name
        fault = self.files.faults(name, span) if self.command == "GET" else None
        if self.path.count("/") != 2 or not path.is_file():
            fault = 404
        data = fault if isinstance(fault, bytes) else b"" if fault == 404 else path.read_bytes()
        status = 200 if span is None else 206
        if isinstance(fault, int):
            status, data = fault, b""
        elif span is not None:
            status, data = (206, data[slice(*span)]) if span[0] < len(data) else (416, b"")
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data[: len(data) // 2] if fault == "break" else data)
            self.close_connection = fault == "break"

    def _span(self) -> tuple[int, int] | None:
        value = self.headers.get("Range", "")
        if not value or not self.files.ranges:
            return None
        start, stop = value.removeprefix("bytes=").split("-")
        return int(start), int(stop) + 1

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(tmp_path, make):
    """23 photos in 5 shards behind http."""
    server = FileServer(make.shards(tmp_path / "photos", Mode.ALIGNMENT, 23))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(tmp_path):
    def make(**changes):
        usual = {"cache_folder": str(tmp_path / "cache"), "retry_seconds": 5.0}
        return StorageSettings(**{**usual, **changes})

    return make


@pytest.fixture
def remote(server, settings):
    """Open the server's set with settings of the storage."""

    def open_set(pattern="", **changes):
        url = f"{server.url}/{pattern}" if pattern else server.url
        return ShardSet.open(url, Mode.ALIGNMENT, settings(**changes))

    return open_set


@pytest.fixture
def all_keys():
    def read(shards):
        return [
            shards.read(number, index)[0]
            for number, size in enumerate(shards.sizes)
            for index in range(size)
        ]

    return read


@pytest.fixture
def eventually():
    """Wait until something holds."""

    def wait(holds, seconds=5.0):
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it does not come true"
            time.sleep(0.01)

    return wait
