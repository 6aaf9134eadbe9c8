"""A loopback server of model files that can fail in the ways that servers do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class ModelServer:
    """Serves `files` by their path; `promised` lies about the length, `moved` redirects."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.promised: int | None = None
        self.moved: dict[str, str] = {}
        self.requests: list[str] = []
        self.address = ""

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """Yield a running server."""
    server = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").partition("?")[0]
            server.requests.append(name)
            if name in server.moved:
                self.send_response(302)
                self.send_header("Location", server.moved[name])
                self.end_headers()
                return
            content = server.files.get(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(server.promised or len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        server.address = f"http://127.0.0.1:{http.server_port}"
        yield server
        http.shutdown()
        thread.join()
