"""Doubles of the places that volumes come from: an S3 bucket and a plain web server."""

import io
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import boto3
import pytest
from google_bucket import byte_range, google_bucket, serving
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
    gives_parts: bool = True
    """Whether a request for some bytes of a zip archive is answered with them alone."""

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
            part = self.headers.get("Range")
            if part and double.gives_parts and self.path.endswith(".zip"):
                return self.send_part(Path(self.translate_path(self.path)).read_bytes(), part)
            return super().send_head()

        def send_part(self, content, part):
            begin, end = byte_range(part, len(content))
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            return io.BytesIO(content[begin:end])

        def log_message(self, *args):
            """Keep the test output clean."""

    with serving(lambda *args: Handler(*args, directory=str(double.root))) as double.address:
        yield double


@pytest.fixture(scope="session")
def google(tmp_path_factory):
    """Return a folder that is the content of a bucket of Google's.

    tensorstore asks once where Google is, so that there is one for the whole run.
    """
    root = tmp_path_factory.mktemp("google")
    with google_bucket(root) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", address)
        yield root
