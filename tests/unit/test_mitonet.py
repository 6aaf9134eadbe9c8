"""The network has MitoNet's call, exports as TorchScript and refines where it is unsure."""

import dataclasses

import pytest
import torch

from segmentation_backend.models.mitonet import MitoNet, MitoNetConfig, full_config, small_config

TINY = MitoNetConfig(
    stem_width=4,
    stage_widths=(4, 8, 8, 8),
    stage_blocks=(1, 1, 1, 1),
    semantic_width=8,
    instance_width=8,
    semantic_skip_widths=(4, 4),
    instance_skip_widths=(4, 4),
    point_width=8,
    render_points=64,
    training_points=32,
)


def build(config=TINY, seed=0):
    torch.manual_seed(seed)
    network = MitoNet(config).eval()
    # Batch norms that have seen nothing are nearly the identity; give them something to do.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def parameters(config):
    return sum(p.numel() for p in MitoNet(config).parameters())


def test_sizes_are_what_the_model_card_says():
    assert 1e6 < parameters(small_config()) < 3e6
    assert 54e6 < parameters(full_config()) < 56e6


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("interpolate", [True, False])
def test_output_has_the_documented_shapes(steps, interpolate):
    x = torch.randn(2, 1, 32, 48)
    output = build()(x, steps, interpolate)
    side = (32, 48) if interpolate else (8, 12)
    assert output["sem_logits"].shape == (2, 1, 8 * 2**steps, 12 * 2**steps)
    assert output["ctr_hmp"].shape == (2, 1, *side)
    assert output["offsets"].shape == (2, 2, *side)
    assert set(output) == {"sem_logits", "ctr_hmp", "offsets"}


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        dataclasses.replace(TINY, global_pooling=True, bottleneck=True, stem_kernel=7),
        dataclasses.replace(TINY, classes=3),
    ],
    ids=["small-style", "full-style", "three-classes"],
)
def test_scripted_equals_eager_also_saved_and_loaded(config, tmp_path):
    network = build(config)
    scripted = torch.jit.script(network)
    scripted.save(tmp_path / "network.pth")
    loaded = torch.jit.load(tmp_path / "network.pth")
    x = torch.randn(1, 1, 48, 32)
    with torch.inference_mode():
        expected = network(x, 2, False)
        for other in (scripted, loaded):
            output = other(x, 2, False)
            assert set(output) == set(expected)
            for name, value in expected.items():
                torch.testing.assert_close(output[name], value)
        torch.testing.assert_close(loaded(x)["ctr_hmp"], network(x)["ctr_hmp"])


def test_the_full_network_runs_and_scripts():
    network = build(dataclasses.replace(full_config(), stage_widths=(16, 32, 64, 128)))
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            torch.jit.script(network)(x)["sem_logits"], network(x)["sem_logits"]
        )


def test_rendering_changes_only_the_least_certain_pixels():
    network = build(dataclasses.replace(TINY, render_points=5))
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        coarse = network(x, 0)["sem_logits"]
        plain = torch.nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        changed = (network(x, 1)["sem_logits"] != plain)[0, 0]
    assert changed.sum() == 5
    assert plain[0, 0].abs()[changed].max() <= plain[0, 0].abs()[~changed].min()


def test_training_adds_the_points_that_were_decided():
    network = build().train()
    output = network(torch.randn(2, 1, 64, 64))
    assert output["sem_logits"].shape == (2, 1, 16, 16)
    assert output["sem_points"].shape == (2, 1, 32)
    assert output["point_coords"].shape == (2, 32, 2)
    assert 0 <= output["point_coords"].min() <= output["point_coords"].max() <= 1
    sum(value.sum() for value in output.values()).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_without_global_pooling_far_pixels_have_no_influence():
    network = build(dataclasses.replace(TINY, aspp_rates=(2,)))
    x = torch.randn(1, 1, 32, 512)
    y = x.clone()
    y[..., 480:] += 5
    with torch.inference_mode():
        a, b = network(x, 0, False), network(y, 0, False)
    for name in a:
        torch.testing.assert_close(a[name][..., :32], b[name][..., :32])
        assert not torch.equal(a[name], b[name])
