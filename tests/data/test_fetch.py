"""Photos behind URLs: a server of this machine that answers as bad servers do."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from rba.data.build import DroppedError
from rba.data.fetch import read_range, read_url


class Handler(BaseHTTPRequestHandler):
    """Answers by the path: what a photo's server may do."""

    asked: dict[str, int]

    def do_GET(self):
        path = self.path
        self.server.asked[path] = times = self.server.asked.get(path, 0) + 1
        body, status, length = b"photo", 200, None
        if path.startswith("/busy") and times < 3:
            status = 503
        elif path.startswith("/later") and times < 2:
            status = 429
        elif path.startswith("/always"):
            status = 500
        elif path.startswith("/gone"):
            status = 404
        elif path.startswith("/cut") and times < 2:
            length = 99
        elif path.startswith("/empty"):
            body = b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked = {}
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize(
    ("path", "answer", "asked"),
    [
        ("/a b/ä.jpg?x=1", b"photo", 1),
        ("/busy", b"photo", 3),
        ("/later", b"photo", 2),
        ("/cut", b"photo", 2),
        ("/always", "HTTP 500", 4),
        ("/gone", "HTTP 404", 1),
        ("/empty", "empty file", 1),
    ],
)
def test_answers_of_a_server(server, path, answer, asked):
    url = f"http://127.0.0.1:{server.server_port}{path}"
    if isinstance(answer, bytes):
        assert read_url(url, wait=0.01) == answer
    else:
        with pytest.raises(DroppedError, match=answer):
            read_url(url, wait=0.01)
    assert list(server.asked.values()) == [asked]


def test_no_server_and_no_url():
    with pytest.raises(DroppedError, match="no answer"):
        read_url("http://127.0.0.1:9/x.jpg", tries=2, wait=0.01, timeout=1)
    with pytest.raises(DroppedError, match="unknown protocol nowhere"):
        read_url("nowhere://x")
    with pytest.raises(DroppedError, match="missing"):
        read_url("memory://nothing/x.jpg")


def test_other_file_systems():
    fsspec.filesystem("memory").pipe_file("memory://photos/x.jpg", b"bytes")
    assert read_url("memory://photos/x.jpg") == b"bytes"


def test_a_part_of_a_file(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"0123456789")
    assert read_range(tmp_path / "a.tar", 3, 4) == b"3456"
    with pytest.raises(DroppedError, match="cut short"):
        read_range(tmp_path / "a.tar", 8, 4)
    with pytest.raises(DroppedError, match="missing"):
        read_range(tmp_path / "b.tar", 0, 4)
