"""Serve a folder over http with ranges: ``python range_server.py FOLDER ADDRESS PORT``."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.folder / self.path.lstrip("/")
        data = path.read_bytes() if path.is_file() else None
        span = self.headers.get("Range", "").removeprefix("bytes=")
        self.send_response(404 if data is None else 206 if span else 200)
        body = data or b""
        if span:
            start, stop = span.split("-")
            body = body[int(start) : int(stop) + 1]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), Handler).serve_forever()
