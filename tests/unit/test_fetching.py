"""Downloads are whole or not at all, over TLS, and what they were said to be."""

import hashlib

import pytest
from model_server import model_server

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, ResourceError
from segmentation_backend.models import fetching
from segmentation_backend.models.fetching import fetch

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def server():
    with model_server() as running:
        running.files["m.pth"] = CONTENT
        yield running


def test_a_file_arrives_with_its_digest(server, tmp_path):
    digest = fetch(server.url("m.pth?download=1"), tmp_path / "new" / "m.pth")
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "new" / "m.pth").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["m.pth"]


def test_the_wrong_file_is_not_kept(server, tmp_path):
    with pytest.raises(FormatError, match="SHA-256") as caught:
        fetch(server.url("m.pth"), tmp_path / "m.pth", sha256="0" * 64)
    assert caught.value.kind is ErrorKind.WEIGHTS_CHECKSUM_MISMATCH
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("promised", [len(CONTENT) + 1, 10 * len(CONTENT)])
def test_a_cut_off_download_is_not_kept(promised, server, tmp_path):
    server.promised = promised
    (tmp_path / "m.pth").write_bytes(b"what was there before")
    with pytest.raises(ResourceError, match="could not be fetched") as caught:
        fetch(server.url("m.pth"), tmp_path / "m.pth")
    assert caught.value.kind is ErrorKind.MODEL_UNAVAILABLE
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"what was there before"]


@pytest.mark.parametrize("says_so", [True, False])
def test_what_is_too_large_is_not_kept(says_so, server, tmp_path, monkeypatch):
    if not says_so:
        monkeypatch.setattr(fetching, "getattr", lambda *a: None, raising=False)
    with pytest.raises(FormatError, match="larger than 1000 bytes"):
        fetch(server.url("m.pth"), tmp_path / "m.pth", largest=1000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["http://example.com/m.pth", "file:///etc/passwd", "ftp://127.0.0.1/m.pth", "m.pth"]
)
def test_only_tls_is_taken_from_elsewhere(url, tmp_path):
    with pytest.raises(InvalidInputError, match="TLS"):
        fetch(url, tmp_path / "m.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["http://example.com/m.pth", "ftp://example.com/m.pth"])
def test_no_redirection_leaves_tls(target, server, tmp_path):
    server.moved["old"] = target
    with pytest.raises(InvalidInputError, match="TLS"):
        fetch(server.url("old"), tmp_path / "m.pth")
    server.moved["old"] = server.url("m.pth")
    assert fetch(server.url("old"), tmp_path / "m.pth") == hashlib.sha256(CONTENT).hexdigest()
