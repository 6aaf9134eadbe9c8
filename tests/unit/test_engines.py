"""Every engine gives the network's own maps, within stated bounds, whatever the network.

The published files cannot be had here: networks with their interface are scripted afresh.
"""

import json
import logging

import pytest
import torch
from scripted_networks import save_panoptic, tiny_network
from torch import nn

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.models import engines, openvino
from segmentation_backend.models.engines import FastNetwork, is_exact, loss_of, measure
from segmentation_backend.models.int8 import calibration_images
from segmentation_backend.models.library import Additions, ModelLibrary
from segmentation_backend.models.opening import open_panoptic

WITHOUT_OPENVINO = pytest.mark.skipif(
    not openvino.is_installed(), reason="the openvino extra is not installed"
)
EXACT = ["eager", "fused", pytest.param("openvino", marks=WITHOUT_OPENVINO)]


def scripted(network):
    return torch.jit.script(network).eval()


def wide_network(**layout):
    """Return a network with layers that Winograd's way is taken for."""
    return tiny_network(width=160, **layout)


@pytest.mark.parametrize("engine", EXACT)
@pytest.mark.parametrize(("steps", "fine"), [(2, False), (2, True), (3, False), (0, False)])
def test_exact_engines_give_the_networks_maps(engine, steps, fine):
    network = tiny_network()
    fast = FastNetwork(scripted(network), engine)
    x = torch.randn(1, 1, 64, 96)
    with torch.inference_mode():
        expected = network(x, steps, fine)
    assert is_exact(expected, fast(x, steps, fine))


@pytest.mark.parametrize("engine", EXACT)
def test_several_classes_and_the_full_layout(engine):
    for layout in ({"classes": 3}, {"global_pooling": True, "bottleneck": True, "stem_kernel": 7}):
        network = tiny_network(**layout)
        x = torch.randn(1, 1, 64, 64)
        with torch.inference_mode():
            assert is_exact(
                network(x, 2, False), FastNetwork(scripted(network), engine)(x, 2, False)
            )


def test_winograd_and_fused_sums_are_used_and_exact():
    network = wide_network(bottleneck=False)
    fast = FastNetwork(scripted(network), "fused")
    x = torch.randn(1, 1, 256, 256)
    with torch.inference_mode():
        assert is_exact(network(x, 2, False), fast(x, 2, False))
    assert {key[1] for key in fast._prepared} & {3, 4}, "no layer went Winograd's way"


@pytest.mark.parametrize("engine", ["fused", "int8"])
def test_an_image_has_the_same_maps_alone_and_in_a_batch(engine):
    fast = FastNetwork(tiny_network(), engine)
    x = torch.randn(3, 1, 64, 64)
    together = fast(x, 2, False)
    for number in range(3):
        alone = fast(x[number : number + 1], 2, False)
        for name, value in alone.items():
            assert torch.equal(value[0], together[name][number])


def test_exact_picks_an_engine_once_and_remembers_it(tmp_path, monkeypatch):
    memory = tmp_path / "engines.json"
    network = tiny_network()
    first = FastNetwork(network, "exact", memory, "abc")
    name, _ = first.program((64, 64), 2, False)
    (entry,) = json.loads(memory.read_text()).values()
    assert entry["engine"] == name
    assert {"eager", "fused"} <= set(entry["milliseconds"])
    monkeypatch.setattr(engines, "timed", None)  # not measured again
    assert FastNetwork(network, "exact", memory, "abc").program((64, 64), 2, False)[0] == name
    memory.write_text("{ damaged")
    monkeypatch.undo()
    FastNetwork(network, "exact", memory, "abc").program((64, 64), 2, False)
    assert json.loads(memory.read_text())


def test_a_memory_that_cannot_be_written_is_no_obstacle(tmp_path):
    fast = FastNetwork(tiny_network(), "exact", tmp_path / "absent" / "engines.json")
    assert fast(torch.zeros(1, 1, 32, 32))["sem_logits"].shape == (1, 1, 32, 32)


class ByValue(nn.Module):
    """A network that does something else where an image is bright."""

    def forward(
        self, x: torch.Tensor, render_steps: int = 2, interpolate_ins: bool = True
    ) -> dict[str, torch.Tensor]:
        if float(x.mean()) > 0.5:
            x = -x
        return {"sem_logits": x, "ctr_hmp": x, "offsets": torch.cat([x, x], 1)}


def test_a_network_that_cannot_be_recorded_is_run_as_it_is():
    fast = FastNetwork(torch.jit.script(ByValue()), "exact")
    for value in (0.0, 1.0):
        x = torch.full((1, 1, 32, 32), value)
        assert torch.equal(fast(x)["sem_logits"], -x if value else x)
    assert fast.program((32, 32))[0] == "eager"


def test_an_engine_that_is_wrong_is_not_used(monkeypatch, caplog):
    def spoilt(graph, prepared):
        graph.graph.output_node()
        for node in graph.graph.nodes:
            if node.op == "call_function" and "relu" in str(node.target):
                node.target = torch.ops.aten.abs.default
        graph.recompile()

    monkeypatch.setattr(engines, "fuse", spoilt)
    monkeypatch.setattr(openvino, "is_installed", lambda: False)
    assert FastNetwork(tiny_network(), "exact").program((64, 64))[0] == "eager"
    assert "not exact" in caplog.text


def test_int8_says_what_it_loses(caplog):
    network = tiny_network()
    fast = FastNetwork(scripted(network), "int8")
    x = calibration_images(128)[1]
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        found, expected = fast(x, 2, False), network(x, 2, False)
    assert "int8" in caplog.text
    assert "foreground_iou" in caplog.text
    assert fast.loss is not None
    assert not is_exact(expected, found)
    loss = loss_of(expected, found)
    assert loss.probability < 0.02
    assert loss.centre < 0.1 * expected["ctr_hmp"].std()


def test_an_unknown_engine_is_refused():
    with pytest.raises(InvalidInputError, match="engine must be one of"):
        FastNetwork(tiny_network(), "warp")


def test_engines_are_measured_beside_each_other():
    reports = {r.engine: r for r in measure(tiny_network(), ["fused", "int8"], side=64)}
    assert list(reports) == ["eager", "fused", "int8"]
    assert reports["eager"].is_exact
    assert reports["fused"].is_exact
    assert not reports["int8"].is_exact
    assert all(r.milliseconds > 0 for r in reports.values())
    json.dumps([r.to_json() for r in reports.values()])


def test_maps_that_differ_are_not_exact():
    network = tiny_network()
    with torch.inference_mode():
        maps = {k: v.clone() for k, v in network(torch.randn(1, 1, 64, 64), 2, False).items()}
    assert is_exact(maps, maps)
    for name, value in maps.items():
        for wrong in (value + 0.01 * value.abs().max(), value * float("nan"), value[:, :, 1:]):
            assert not is_exact(maps, {**maps, name: wrong})
    exchanged = maps["sem_logits"].clone()
    exchanged.view(-1)[:4] += 5  # four of 4096 pixels: as PointRend exchanges them
    assert is_exact(maps, {**maps, "sem_logits": exchanged})
    exchanged.view(-1)[:50] += 5
    assert not is_exact(maps, {**maps, "sem_logits": exchanged})


def test_the_loss_of_nothing_is_nothing():
    maps = {
        "sem_logits": torch.full((1, 1, 8, 8), -9.0),
        "ctr_hmp": torch.zeros(1, 1, 2, 2),
        "offsets": torch.zeros(1, 2, 2, 2),
    }
    loss = loss_of(maps, maps)
    assert (loss.foreground_iou, loss.probability, loss.centre, loss.offset) == (1, 0, 0, 0)


class QuantisedMitoNet(nn.Module):
    """A stand-in for the published 8-bit files: a statically quantised layer, scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = (
            torch.ao.quantization.QuantStub(),
            torch.ao.quantization.DeQuantStub(),
        )
        self.first = nn.Conv2d(1, 4, 4, 4)

    def forward(
        self, x: torch.Tensor, render_steps: int = 2, interpolate_ins: bool = True
    ) -> dict[str, torch.Tensor]:
        y = self.dequant(self.first(self.quant(x)))
        logits = nn.functional.interpolate(y[:, :1], scale_factor=4.0)
        return {"sem_logits": logits, "ctr_hmp": y[:, 1:2], "offsets": y[:, 2:]}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch warns of its own observers
def test_the_quantised_variant_is_chosen_by_name_and_runs(tmp_path):
    torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]
    network = QuantisedMitoNet().eval()
    network.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    torch.ao.quantization.prepare(network, inplace=True)
    network(torch.randn(1, 1, 32, 32))
    torch.ao.quantization.convert(network, inplace=True)
    torch.jit.script(network).save(tmp_path / "q.pth")
    save_panoptic(tmp_path / "m.pth")
    (tmp_path / "m.yaml").write_text("model: m.pth\nmodel_quantized: q.pth\n")
    library = ModelLibrary(tmp_path / "models")
    spec = library.add(str(tmp_path / "m.yaml"), Additions(allow_code=True))
    x = torch.randn(1, 1, 32, 32)
    found = open_panoptic(spec, library.models_dir, "quantized")(x, 2, False)
    torch.testing.assert_close(found["offsets"], network(x)["offsets"])
    plain = open_panoptic(spec, library.models_dir, "fused")(x, 2, False)
    assert plain["offsets"].shape == (1, 2, 8, 8)
    with pytest.raises(InvalidInputError, match="no quantised variant"):
        open_panoptic(library.find("mitoglance_small"), library.models_dir, "quantized")
    with pytest.raises(InvalidInputError, match="engine must be"):
        open_panoptic(spec, library.models_dir, "warp")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_the_maps_are_close_and_float32():
    network = tiny_network()
    x = torch.randn(4, 1, 64, 64)
    with torch.inference_mode():
        expected = network(x, 2, False)
        found = FastNetwork(tiny_network().to("cuda"))(x.to("cuda"), 2, False)
    assert all(value.dtype == torch.float32 for value in found.values())
    assert loss_of(expected, {k: v.cpu() for k, v in found.items()}).probability < 0.01
