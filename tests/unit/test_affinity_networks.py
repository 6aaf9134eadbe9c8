"""3D networks, TorchScript and ONNX alike: called the same way, their results checked."""

import dataclasses

import numpy as np
import pytest
import torch
from scripted_networks import BoundaryNetwork, save_affinity, save_panoptic
from torch import nn

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, ResourceError
from segmentation_backend.inference.affinities import AffinityParameters, segment_affinities
from segmentation_backend.models import affinity
from segmentation_backend.models.library import Additions, ModelLibrary
from segmentation_backend.models.networks import AffinityNetwork, PanopticNetwork
from segmentation_backend.models.opening import open_affinity, open_panoptic

AFFINITY = Additions(kind="affinity3d", allow_code=True)


@pytest.fixture
def library(tmp_path):
    return ModelLibrary(tmp_path / "models")


def two_balls():
    """Return an image of two bright balls side by side, and where they are."""
    z, y, x = np.mgrid[:20, :20, :40]
    balls = [(z - 10) ** 2 + (y - 10) ** 2 + (x - c) ** 2 < 49 for c in (10, 29)]
    return (balls[0] | balls[1]).astype(np.float32), balls


def segment(network):
    image, balls = two_balls()
    found = network(torch.from_numpy(image)[None, None])[0].numpy()
    assert found.shape[1:] == (18, 18, 38)
    labels = segment_affinities(found, (8.0, 8.0, 8.0), AffinityParameters(min_size=50))
    inner = [ball[1:-1, 1:-1, 1:-1] for ball in balls]
    numbers = [np.unique(labels[ball & (labels > 0)]) for ball in inner]
    assert sorted(int(n[0]) for n in numbers) == [1, 2]
    assert [len(n) for n in numbers] == [1, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_scripted_network_separates_two_objects(channels, library, tmp_path):
    save_affinity(tmp_path / "a.pth", channels)
    network = open_affinity(library.add(str(tmp_path / "a.pth"), AFFINITY), library.models_dir)
    assert isinstance(network, AffinityNetwork)
    segment(network)


def test_logits_become_probabilities_where_that_is_said(library, tmp_path):
    save_affinity(tmp_path / "a.pth", logits=True)
    spec = library.add(str(tmp_path / "a.pth"), AFFINITY)
    with pytest.raises(FormatError, match="--activation sigmoid") as caught:
        segment(open_affinity(spec, library.models_dir))
    assert caught.value.kind is ErrorKind.MODEL_OUTPUT_INVALID
    segment(open_affinity(dataclasses.replace(spec, activation="sigmoid"), library.models_dir))


def test_an_onnx_graph_is_called_in_the_same_way(library, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: no graph to test with")
    pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
    del onnx
    torch.onnx.export(
        BoundaryNetwork().eval(),
        (torch.zeros(1, 1, 20, 20, 40),),
        str(tmp_path / "a.onnx"),
        dynamo=False,
        input_names=["block"],
    )
    spec = library.add(str(tmp_path / "a.onnx"))
    assert spec.kind.value == "affinity3d"
    network = open_affinity(spec, library.models_dir)
    segment(network)
    block = torch.randn(1, 1, 20, 20, 40)
    torch.testing.assert_close(network(block), BoundaryNetwork()(block), atol=1e-5, rtol=1e-5)


def test_a_broken_onnx_graph_is_refused(library, tmp_path):
    pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
    (tmp_path / "a.onnx").write_bytes(b"no graph at all")
    spec = library.add(str(tmp_path / "a.onnx"))
    with pytest.raises(FormatError, match="not an ONNX graph") as caught:
        open_affinity(spec, library.models_dir)
    assert caught.value.kind is ErrorKind.WEIGHTS_UNREADABLE


def test_without_onnx_runtime_the_way_out_is_named(library, tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"graph")
    spec = library.add(str(tmp_path / "a.onnx"))
    monkeypatch.setattr(affinity, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"pip install 'mitoglance\[onnx\]'"):
        open_affinity(spec, library.models_dir)


class Wrong(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, block: torch.Tensor) -> torch.Tensor:
        if self.way == "rank":
            return block[0]
        if self.way == "channels":
            return torch.cat([block, block], 1)
        if self.way == "margin":
            return block[:, :, 1:]
        if self.way == "larger":
            return torch.cat([block, block], 2)
        return block / 0


@pytest.mark.parametrize("way", ["rank", "channels", "margin", "larger", "nan"])
def test_wrong_results_are_refused(way, library, tmp_path):
    torch.jit.script(Wrong(way)).save(tmp_path / "a.pth")
    network = open_affinity(library.add(str(tmp_path / "a.pth"), AFFINITY), library.models_dir)
    with pytest.raises(FormatError, match="returned") as caught:
        network(torch.zeros(1, 1, 8, 8, 8))
    assert caught.value.kind is ErrorKind.MODEL_OUTPUT_INVALID


def test_each_kind_is_opened_as_what_it_is(library, tmp_path):
    save_panoptic(tmp_path / "m.pth")
    save_affinity(tmp_path / "a.pth")
    plane = library.add(str(tmp_path / "m.pth"), Additions(allow_code=True))
    block = library.add(str(tmp_path / "a.pth"), AFFINITY)
    assert isinstance(open_panoptic(plane, library.models_dir, "eager"), PanopticNetwork)
    with pytest.raises(InvalidInputError, match="not affinity3d"):
        open_affinity(plane, library.models_dir)
    with pytest.raises(InvalidInputError, match="not panoptic2d"):
        open_panoptic(block, library.models_dir)
