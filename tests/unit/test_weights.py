"""Weights are loaded only when they are what they were; downloads are whole or not at all."""

import dataclasses
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.models import weights
from segmentation_backend.models.mitonet import MitoNet, MitoNetConfig
from segmentation_backend.models.registry import Origin, find_model

TINY = MitoNetConfig(
    stem_width=4,
    stage_widths=(4, 4, 4, 4),
    stage_blocks=(1, 1, 1, 1),
    semantic_width=4,
    instance_width=4,
    semantic_skip_widths=(4, 4),
    instance_skip_widths=(4, 4),
    point_width=4,
)


@pytest.fixture
def scripted(tmp_path):
    """Return the bytes of a TorchScript network with MitoNet's call."""
    torch.manual_seed(0)
    path = tmp_path / "scripted"
    torch.jit.script(MitoNet(TINY).eval()).save(path)
    return path.read_bytes()


@pytest.fixture
def server():
    """Yield a loopback server: its address, and what it serves and counts."""

    class Handler(BaseHTTPRequestHandler):
        content, status, promised, requests = b"", 200, None, 0

        def do_GET(self):
            Handler.requests += 1
            self.send_response(Handler.status)
            self.send_header("Content-Length", str(Handler.promised or len(Handler.content)))
            self.end_headers()
            self.wfile.write(Handler.content)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/file", Handler
        http.shutdown()
        thread.join()


def mitonet(models, url):
    return dataclasses.replace(find_model("MitoNet_v1", models), url=url)


def test_the_embedded_network_loads_and_runs(tmp_path):
    network = weights.load(find_model("mitoglance_small", tmp_path), tmp_path)
    assert not network.training
    output = network(torch.zeros(1, 1, 32, 32))
    assert output["sem_logits"].shape == (1, 1, 32, 32)
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_network_exports_with_mitonets_call(tmp_path):
    network = weights.load(find_model("mitoglance_small", tmp_path), tmp_path)
    torch.jit.script(network).save(tmp_path / "exported.pth")
    exported = weights.load(find_model("exported", tmp_path), tmp_path)
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        for name, value in network(x, 2, False).items():
            torch.testing.assert_close(exported(x, 2, False)[name], value)


def test_embedded_weights_with_a_wrong_hash_are_refused(tmp_path):
    spec = dataclasses.replace(find_model("mitoglance_small", tmp_path), sha256="f" * 64)
    with pytest.raises(FormatError, match="install") as caught:
        weights.load(spec, tmp_path)
    assert caught.value.kind is ErrorKind.WEIGHTS_CHECKSUM_MISMATCH


def test_written_weights_are_read_again(tmp_path):
    torch.manual_seed(0)
    network = MitoNet(TINY).eval()
    weights.write_network(tmp_path / "mine.pt", network, TINY)
    loaded = weights.load(find_model("mine", tmp_path), tmp_path)
    x = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        for name, value in network(x).items():
            torch.testing.assert_close(loaded(x)[name], value, rtol=0.05, atol=0.02)
    assert {p.name for p in tmp_path.iterdir()} == {"mine.pt", "mine.pt.sha256"}


def test_equal_weights_have_equal_hashes_whatever_the_files_name(tmp_path):
    torch.manual_seed(0)
    network = MitoNet(TINY)
    for name in ("one.pt", "another.pt"):
        weights.write_network(tmp_path / name, network, TINY)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


@pytest.mark.parametrize("name", ["broken.pt", "broken.pth"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut off"])
def test_corrupt_weights_are_refused_with_the_way_out(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=r"cannot be read .* delete the file") as caught:
        weights.load(find_model(name, tmp_path), tmp_path)
    assert caught.value.kind is ErrorKind.WEIGHTS_UNREADABLE


def test_cut_off_weights_are_refused(tmp_path, scripted):
    (tmp_path / "half.pth").write_bytes(scripted[: len(scripted) // 2])
    with pytest.raises(FormatError):
        weights.load(find_model("half", tmp_path), tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        {"format": "other"},
        {"format": "mitoglance-network-1"},
        {"format": "mitoglance-network-1", "config": {"colour": 1}, "state": {}},
        {"format": "mitoglance-network-1", "config": {}, "state": {}},
        [1, 2],
    ],
)
def test_state_dicts_of_something_else_are_refused(value, tmp_path):
    torch.save(value, tmp_path / "other.pt")
    with pytest.raises(FormatError):
        weights.load(find_model("other", tmp_path), tmp_path)


def test_a_pickle_with_code_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "bang"), "w"))

    torch.save({"format": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(FormatError):
        weights.load(find_model("bomb", tmp_path), tmp_path)
    assert not (tmp_path / "bang").exists()


def test_a_download_is_made_once_and_its_hash_recorded(tmp_path, scripted, server):
    url, handler = server
    handler.content = scripted
    models = tmp_path / "models"
    spec = mitonet(models, url)
    assert spec.origin is Origin.DOWNLOAD
    for _ in range(2):
        network = weights.load(spec, models)
        assert set(network(torch.zeros(1, 1, 32, 32))) == {"sem_logits", "ctr_hmp", "offsets"}
    assert handler.requests == 1
    record = (models / "MitoNet_v1.pth.sha256").read_text()
    assert record.split() == [weights.digest(scripted), "MitoNet_v1.pth"]
    assert {p.name for p in models.iterdir()} == {"MitoNet_v1.pth", "MitoNet_v1.pth.sha256"}


def test_a_file_that_changed_after_its_download_is_refused(tmp_path, scripted, server):
    url, handler = server
    handler.content = scripted
    spec = mitonet(tmp_path, url)
    weights.load(spec, tmp_path)
    path = tmp_path / "MitoNet_v1.pth"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(FormatError, match="recorded") as caught:
        weights.load(spec, tmp_path)
    assert caught.value.kind is ErrorKind.WEIGHTS_CHECKSUM_MISMATCH


def test_a_local_file_is_taken_instead_of_a_download_and_pinned(tmp_path, scripted):
    (tmp_path / "MitoNet_v1.pth").write_bytes(scripted)
    weights.load(mitonet(tmp_path, "http://127.0.0.1:9/nothing"), tmp_path)
    assert (tmp_path / "MitoNet_v1.pth.sha256").is_file()


@pytest.mark.parametrize("failure", ["offline", "missing", "cut off"])
def test_a_failed_download_says_what_to_put_where_and_leaves_nothing(failure, tmp_path, server):
    url, handler = server
    handler.content = b"half"
    if failure == "missing":
        handler.status = 404
    elif failure == "cut off":
        handler.promised = 1000
    else:
        url = "http://127.0.0.1:9/nothing"
    with pytest.raises(ResourceError, match=r"MitoNet_v1\.pth") as caught:
        weights.load(mitonet(tmp_path, url), tmp_path)
    assert caught.value.kind is ErrorKind.MODEL_UNAVAILABLE
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
