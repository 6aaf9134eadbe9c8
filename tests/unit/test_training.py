"""Training is reproducible, resumable, and learns what it is shown."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch

from segmentation_backend.errors import FormatError, InvalidInputError, NotFoundError
from segmentation_backend.models.mitonet import MitoNetConfig
from segmentation_backend.models.weights import read_network
from segmentation_backend.training.augment import (
    Augmentation,
    LabelledSlice,
    augment,
    degrade,
    warp,
)
from segmentation_backend.training.config import (
    SyntheticSet,
    TrainingConfig,
    TrainingVolume,
    every_volume,
    research_run,
)
from segmentation_backend.training.dataset import draw_batch, load_validation, load_volumes
from segmentation_backend.training.losses import LossWeights, losses
from segmentation_backend.training.scoring import research_sections
from segmentation_backend.training.targets import centres_of, make_targets, split_components
from segmentation_backend.training.train import train

TINY = MitoNetConfig(
    stem_width=8,
    stage_widths=(8, 8, 8, 8),
    stage_blocks=(1, 1, 1, 1),
    semantic_width=8,
    instance_width=8,
    semantic_skip_widths=(8, 8),
    instance_skip_widths=(4, 4),
    point_width=8,
    training_points=64,
    dropout=0.1,
)


def write_volume(folder, name="cube", ignore=True):
    """Write a cube with dark balls for mitochondria and return how to train on it."""
    rng = np.random.default_rng(0)
    em = rng.normal(150, 10, (24, 64, 64))
    inst = np.zeros(em.shape, np.uint16)
    z, y, x = np.mgrid[:24, :64, :64]
    for number, (cy, cx) in enumerate([(16, 16), (18, 48), (48, 30)], start=1):
        inst[(z - 12) ** 2 / 4 + (y - cy) ** 2 + (x - cx) ** 2 <= 100] = number
    em[inst > 0] -= 80
    np.savez(folder / f"{name}_em.npz", em=em.clip(0, 255).astype(np.uint8))
    extra = {"ignore": (inst == 3).astype(np.uint8)} if ignore else {}
    np.savez(folder / f"{name}_labels.npz", inst=inst, **extra)
    return TrainingVolume(
        name, folder / f"{name}_em.npz", folder / f"{name}_labels.npz", (0, 20), (20, 24)
    )


def config(folder, output="run", **changes):
    base = TrainingConfig(
        output=folder / output,
        volumes=(write_volume(folder),),
        synthetic=None,
        network=TINY,
        seed=3,
        iterations=6,
        batch=2,
        crop=64,
        checkpoint_every=3,
        threads=1,
    )
    return dataclasses.replace(base, **changes)


def states_equal(a, b):
    first, second = (read_network(p.read_bytes(), p.name).state_dict() for p in (a, b))
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_config_gives_the_same_weights(tmp_path):
    first = train(config(tmp_path, "a"))
    second = train(config(tmp_path, "b"))
    other = train(config(tmp_path, "c", seed=4))
    assert states_equal(first, second)
    assert not states_equal(first, other)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = train(config(tmp_path, "whole"))
    train(config(tmp_path, "parts"), stop_after=3)
    resumed = train(config(tmp_path, "parts"))
    assert states_equal(whole, resumed)
    curves = [json.loads((tmp_path / run / "curve.json").read_text()) for run in ("whole", "parts")]
    for line in (line for curve in curves for line in curve["lines"]):
        del line["seconds"]
    assert curves[0] == curves[1]
    assert [line["iteration"] for line in curves[0]["lines"]] == [3, 6]


def test_a_run_ended_by_its_observer_goes_on_from_the_checkpoint(tmp_path):
    def stop(progress):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(config(tmp_path, "parts"), stop)
    assert states_equal(train(config(tmp_path, "parts")), train(config(tmp_path, "whole")))


def test_a_checkpoint_of_another_config_is_refused(tmp_path):
    train(config(tmp_path), stop_after=3)
    with pytest.raises(InvalidInputError, match="another"):
        train(config(tmp_path, batch=1))


def test_the_loss_falls_and_the_held_out_sections_are_scored(tmp_path):
    lines = []
    calm = Augmentation(
        scale=(0.9, 1.1), elastic=0, contrast=(0.9, 1.1), blur=0, noise=0.1, artefacts=0
    )
    train(config(tmp_path, iterations=60, checkpoint_every=60, augmentation=calm), lines.append)
    assert lines[-1].losses["total"] < 0.7 * lines[0].losses["total"]
    assert 0 <= lines[-1].validation["cube"] <= 1
    assert lines[0].validation == {}


def test_validation_sections_are_never_drawn(tmp_path):
    run = config(tmp_path)
    (volume,), (held_out,) = load_volumes(run), load_validation(run)
    assert len(volume.image) == 20
    assert len(held_out.image) == 4
    em = np.load(run.volumes[0].image)["em"]
    np.testing.assert_allclose(held_out.image * em.std() + em.mean(), em[20:], atol=1e-3)


def test_a_batch_depends_on_seed_and_number_only(tmp_path):
    run = config(tmp_path)
    volumes = load_volumes(run)
    first, again = draw_batch(volumes, run, 5), draw_batch(volumes, run, 5)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, draw_batch(volumes, run, 6).images)


def test_synthetic_volumes_are_drawn_too(tmp_path):
    synthetic = SyntheticSet(seeds=(1,), shape=(16, 64, 64))
    run = config(tmp_path, synthetic=synthetic)
    names = [v.name for v in load_volumes(run)]
    assert names == ["cube", "synthetic-1"]


def test_thick_sections_are_drawn_in_their_own_plane_only(tmp_path):
    thick = dataclasses.replace(write_volume(tmp_path), axes=(0,))
    run = config(tmp_path, volumes=(thick,), batch=8)
    (volume,) = load_volumes(run)
    planes = []

    class Watched:
        axes, image, weight = volume.axes, volume.image, volume.weight

        def slice_at(self, axis, index):
            planes.append(axis)
            return volume.slice_at(axis, index)

    draw_batch([Watched()], run, 0)
    assert planes == [0] * 8


def test_a_run_begins_with_the_weights_it_is_given(tmp_path):
    first = train(config(tmp_path, "first"))
    begun = config(tmp_path, "begun", start=first, iterations=1, learning_rate=1e-9)
    name = next(iter(_state(first)))
    again = _state(train(begun))[name]
    assert torch.allclose(again, _state(first)[name], atol=1e-4)
    assert not torch.allclose(again, _state(train(config(tmp_path, "other", seed=9)))[name])
    written = json.loads((begun.output / "curve.json").read_text())["config"]["start"]
    assert written == hashlib.sha256(first.read_bytes()).hexdigest()


def test_the_norms_follow_the_batches_as_slowly_as_is_asked(tmp_path):
    def moved(momentum):
        run = config(tmp_path, f"norm{momentum}", iterations=1, norm_momentum=momentum)
        state = _state(train(run))
        means = torch.cat([v for k, v in state.items() if k.endswith("running_mean")])
        return float(means.abs().sum())

    assert moved(0.01) == pytest.approx(moved(0.1) / 10, rel=0.02)
    with pytest.raises(InvalidInputError, match="norm_momentum"):
        config(tmp_path, "none", norm_momentum=-0.1)


def test_held_norms_stay_what_they_were(tmp_path):
    first = train(config(tmp_path, "first", iterations=1))
    held = train(config(tmp_path, "held", iterations=2, start=first, norm_momentum=0))
    before, after = _state(first), _state(held)
    norms = [k for k in before if k.endswith(("running_mean", "running_var"))]
    assert norms
    assert all(torch.equal(before[k], after[k]) for k in norms)
    assert any(not torch.equal(before[k], after[k]) for k in before if k not in norms)


def _state(path):
    return read_network(path.read_bytes(), path.name).state_dict()


def test_the_research_run_holds_out_what_it_is_scored_on(tmp_path):
    held_out = {v.name: v.validation for v in every_volume(tmp_path)}
    for volume in every_volume(tmp_path):
        for file in (volume.image, volume.labels):
            file.parent.mkdir(exist_ok=True)
            file.touch()
        assert volume.training[1] <= volume.validation[0]
    assert {s.name: s.sections for s in research_sections(tmp_path)} == held_out
    with pytest.raises(InvalidInputError, match="--data"):
        research_run(tmp_path, None)


def test_touching_objects_have_a_seam_and_small_ones_count_more():
    labels = np.zeros((64, 64), np.int32)
    labels[8:56, 8:40], labels[24:34, 40:50], labels[44:54, 43:53] = 1, 2, 3
    targets = make_targets(labels, np.zeros(labels.shape, bool), sigma=6, favour_small=True)
    assert (targets.foreground[26:32, 39:41] == 0).all()  # where 1 and 2 touch
    assert (targets.foreground[46:52, 39] == 1).all()  # 1 and 3 do not
    assert (targets.weight[46:52, 40:43] > 1).all()  # the cleft between them
    assert targets.weight[2, 2] == 1
    small, large = targets.offsets_weight[7, 11], targets.offsets_weight[7, 6]
    assert small > large > 0


def test_every_centre_lies_inside_its_object():
    rng = np.random.default_rng(0)
    labels = np.zeros((64, 96), np.int32)
    labels[10:50, 10:18] = labels[42:50, 10:60] = labels[10:50, 52:60] = 1  # a horseshoe
    labels[20:30, 25:40] = 2
    labels[rng.random(labels.shape) < 0.02] = 3  # dust
    objects = split_components(labels)
    centres = centres_of(objects)
    assert len(centres) == objects.max()
    found = objects[centres[:, 0].astype(int), centres[:, 1].astype(int)]
    np.testing.assert_array_equal(found, np.arange(1, len(centres) + 1))


def test_the_centre_of_a_round_object_is_its_centroid():
    y, x = np.mgrid[:40, :40]
    objects = ((y - 17) ** 2 + (x - 22) ** 2 <= 81).astype(np.int32)
    np.testing.assert_array_equal(centres_of(objects), [[17, 22]])


def test_offsets_point_to_the_centre_and_the_heatmap_peaks_there():
    labels = np.zeros((64, 64), np.int32)
    labels[8:25, 8:25] = 4
    targets = make_targets(labels, np.zeros(labels.shape, bool), sigma=6)
    grid = np.mgrid[:16, :16] * 4 + 1.5
    inside = targets.offsets_weight > 0
    places = (grid + targets.offsets)[:, inside]
    np.testing.assert_allclose(places, 16)
    assert inside.sum() == 16
    assert np.unravel_index(targets.heatmap.argmax(), (16, 16)) in {(3, 3), (4, 4), (3, 4), (4, 3)}
    assert targets.heatmap.max() > 0.9
    assert targets.heatmap[15, 15] < 1e-6


def test_pieces_of_one_object_have_centres_of_their_own():
    labels = np.zeros((32, 64), np.int32)
    labels[10:20, 5:15] = labels[10:20, 45:55] = 9
    assert len(centres_of(split_components(labels))) == 2


def test_ignored_pixels_cost_nothing(tmp_path):
    run = config(tmp_path)
    batch = draw_batch(load_volumes(run), run, 0)
    known = torch.zeros_like(batch.weight)
    blind = dataclasses.replace(
        batch,
        weight=known,
        heatmap_weight=torch.zeros_like(batch.heatmap_weight),
        offsets_weight=torch.zeros_like(batch.offsets_weight),
    )
    output = {
        "sem_logits": torch.randn(2, 1, 16, 16),
        "ctr_hmp": torch.randn(2, 1, 16, 16),
        "offsets": torch.randn(2, 2, 16, 16),
        "sem_points": torch.randn(2, 1, 64),
        "point_coords": torch.rand(2, 64, 2),
    }
    assert float(losses(output, blind, LossWeights())["total"]) == 0
    assert float(losses(output, batch, LossWeights())["total"]) > 0


def test_a_warp_moves_labels_with_the_image():
    labels = np.zeros((80, 80), np.int32)
    labels[30:50, 25:60] = 1
    source = LabelledSlice(labels.astype(np.float32), labels, labels == 2)
    for seed in range(8):
        crop = warp(source, 64, Augmentation(scale=(0.6, 1.8)), np.random.default_rng(seed))
        agreement = ((crop.image > 0.5) == (crop.labels > 0)).mean()
        assert agreement > 0.97


def test_augmentation_stays_finite_and_keeps_its_shape():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(50, 70)).astype(np.float32)
    source = LabelledSlice(image, np.zeros(image.shape, np.int32), np.zeros(image.shape, bool))
    for seed in range(40):
        strong = Augmentation(artefacts=0.5)
        crop = augment(source, 96, strong, np.random.default_rng(seed))
        assert crop.image.shape == (96, 96)
        assert crop.image.dtype == np.float32
        assert np.isfinite(crop.image).all()


def test_some_crops_keep_their_grey_values():
    image = np.random.default_rng(0).normal(size=(48, 48)).astype(np.float32)
    some = Augmentation(untouched=0.5)
    kept = [degrade(image, some, np.random.default_rng(seed)) is image for seed in range(60)]
    assert 15 < sum(kept) < 45
    assert degrade(image, Augmentation(), np.random.default_rng(0)) is not image


@pytest.mark.parametrize(
    "wrong", [{"crop": 40}, {"iterations": 0}, {"batch": 0}, {"volumes": (), "synthetic": None}]
)
def test_a_config_that_cannot_work_is_refused(wrong, tmp_path):
    with pytest.raises(InvalidInputError):
        config(tmp_path, **wrong)


def test_missing_or_wrong_training_files_are_named(tmp_path):
    good = write_volume(tmp_path)
    absent = dataclasses.replace(good, image=tmp_path / "absent.npz")
    with pytest.raises(NotFoundError, match=r"absent\.npz"):
        load_volumes(config(tmp_path, volumes=(absent,)))
    swapped = dataclasses.replace(good, image=good.labels)
    with pytest.raises(FormatError, match="'em'"):
        load_volumes(config(tmp_path, volumes=(swapped,)))
    beyond = dataclasses.replace(good, training=(0, 30))
    with pytest.raises(FormatError, match="sections"):
        load_volumes(config(tmp_path, volumes=(beyond,)))
