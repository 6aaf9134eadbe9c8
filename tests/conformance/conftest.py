"""Doubles of the places that volumes come from: an S3 bucket and a plain web server."""

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "em-data"


@dataclass
class Bucket:
    """A bucket of an S3 double on this machine."""

    client: Any
    endpoint: str

    def url(self, prefix):
        return f"s3://{BUCKET}/{prefix}"

    def put(self, key, data, *, public=True):
        """Write an object, or remove it when there is no data."""
        if data is None:
            self.client.delete_object(Bucket=BUCKET, Key=key)
        else:
            rights = {"ACL": "public-read"} if public else {}
            self.client.put_object(Bucket=BUCKET, Key=key, Body=data, **rights)

    def upload(self, folder, prefix, *, public=True):
        for file in (f for f in folder.rglob("*") if f.is_file()):
            key = f"{prefix}/{file.relative_to(folder).as_posix()}"
            self.put(key, file.read_bytes(), public=public)


@pytest.fixture(scope="module")
def s3():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    yield Bucket(client, endpoint)
    server.stop()


@dataclass
class Web:
    """A static web server on this machine that can be told to fail."""

    root: Path
    address: str = ""
    broken: str | None = None

    @contextmanager
    def failing(self, ending):
        """Answer 500 for paths with this ending for a while."""
        self.broken = ending
        try:
            yield
        finally:
            self.broken = None


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    double = Web(tmp_path_factory.mktemp("web"))

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def send_head(self):
            if double.broken and self.path.endswith(double.broken):
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
                return None
            return super().send_head()

        def log_message(self, *args):
            """Keep the test output clean."""

    class Server(ThreadingHTTPServer):
        # The default of 5 waiting connections costs a second when a reader opens more at once.
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(double.root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    double.address = f"http://127.0.0.1:{server.server_port}"
    yield double
    server.shutdown()
    server.server_close()
