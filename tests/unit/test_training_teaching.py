"""A network learns from what another makes of sections, seen from all sides."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from torch import nn

from segmentation_backend.errors import FormatError, InvalidInputError, NotFoundError
from segmentation_backend.models.mitonet import MitoNet, MitoNetConfig
from segmentation_backend.models.weights import write_network
from segmentation_backend.training.augment import Augmentation, LabelledSlice, warp
from segmentation_backend.training.config import TrainingConfig, TrainingVolume
from segmentation_backend.training.dataset import draw_batch, load_volumes
from segmentation_backend.training.losses import LossWeights, losses
from segmentation_backend.training.targets import make_targets
from segmentation_backend.training.teaching import (
    mean_probability,
    teach,
    teach_unlabelled,
    with_teacher,
)
from segmentation_backend.training.train import train

SIDES = (3, 40, 52)
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
)


class _Ramp(nn.Module):
    """Says of each pixel what its place in the view is: another thing for every view."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image):
        rows, columns = image.shape[2:]
        place = torch.linspace(-3, 3, columns) + 2 * torch.linspace(0, 1, rows)[:, None] ** 2
        return {"sem_logits": place.expand(image.shape)}


class _Darkness(nn.Module):
    """Says of each pixel how dark it is, whatever the view."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.sides = []

    def forward(self, image):
        self.sides.append(tuple(image.shape[2:]))
        return {"sem_logits": -image}


def write_sections(folder, shape=SIDES):
    rng = np.random.default_rng(5)
    inst = np.zeros(shape, np.uint16)
    inst[:, 8:24, 10:30] = 1
    inst[:, 28:36, 34:48] = 2
    em = rng.normal(150, 5, shape)
    em[inst > 0] -= 60
    ignore = np.zeros(shape, np.uint8)
    ignore[:, :4] = 1
    path = folder / "sections.npz"
    np.savez(path, em=em.astype(np.uint8), inst=inst, ignore=ignore)
    return path


def arrays_of(path):
    with np.load(path) as archive:
        return dict(archive)


def test_the_mean_of_the_views_is_where_the_section_was():
    section = np.random.default_rng(1).normal(size=(40, 52)).astype(np.float32)
    network = _Darkness()
    seen = mean_probability(section, network)
    np.testing.assert_allclose(seen, 1 / (1 + np.exp(section)), atol=1e-6)
    # Four views lie and four stand, each filled up to sides that the network takes.
    assert sorted(network.sides) == [(48, 64)] * 4 + [(64, 48)] * 4


def test_no_side_of_a_section_counts_more_than_another():
    seen = mean_probability(np.zeros((48, 48), np.float32), _Ramp())
    for turned in (np.rot90(seen), seen[:, ::-1], seen[::-1], seen.T):
        np.testing.assert_allclose(seen, turned, atol=1e-6)
    assert np.ptp(seen) > 0.05


@pytest.mark.parametrize("trust", [0.0, 0.3, 1.0])
def test_a_teacher_counts_as_much_as_it_is_trusted(trust, tmp_path):
    path = write_sections(tmp_path)
    teach(path, path, _Darkness(), tmp_path / "taught.npz", trust)
    taught, original = arrays_of(tmp_path / "taught.npz"), arrays_of(path)
    np.testing.assert_array_equal(taught["inst"], original["inst"])
    np.testing.assert_array_equal(taught["ignore"], original["ignore"])
    em = original["em"].astype(np.float64)
    likely = 1 / (1 + np.exp((em - em.mean()) / em.std()))
    expected = (1 - trust) * (original["inst"] > 0) + trust * likely
    assert taught["foreground"].dtype == np.uint8
    np.testing.assert_allclose(taught["foreground"] / 255, expected, atol=0.003)


@pytest.mark.parametrize("trust", [-0.1, 1.1, float("nan")])
def test_trust_is_a_share(trust, tmp_path):
    path = tmp_path / "sections.npz"
    with pytest.raises(InvalidInputError, match="trust must be"):
        TrainingVolume("sections", path, path, (0, 3), trust=trust)


@pytest.mark.parametrize("wrong", [{"axes": (0, 1, 2)}, {"axes": (0,), "validation": (2, 3)}])
def test_sections_without_labels_are_neither_held_out_nor_cut_across(wrong, tmp_path):
    with pytest.raises(InvalidInputError, match="has no labels"):
        TrainingVolume("sections", tmp_path / "sections.npz", None, (0, 2), **wrong)


@pytest.mark.parametrize("asked", [{"trust": 0.5}, {"labels": None, "axes": (0,)}])
def test_who_shall_be_taught_needs_a_teacher(asked, tmp_path):
    path = tmp_path / "sections.npz"
    volume = dataclasses.replace(TrainingVolume("sections", path, path, (0, 3)), **asked)
    with pytest.raises(InvalidInputError, match="--teacher"):
        TrainingConfig(tmp_path, (volume,))


def test_a_teacher_names_files_that_are_absent_or_lack_an_image(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.npz"):
        teach_unlabelled(tmp_path / "none.npz", _Darkness(), tmp_path / "taught.npz")
    np.savez(tmp_path / "bare.npz", inst=np.zeros(SIDES, np.uint16))
    with pytest.raises(FormatError, match="'em'"):
        teach_unlabelled(tmp_path / "bare.npz", _Darkness(), tmp_path / "taught.npz")


def test_sections_without_labels_get_the_objects_that_the_network_sees(tmp_path):
    torch.manual_seed(0)
    network = MitoNet(TINY).eval()
    path = write_sections(tmp_path, (2, 64, 80))
    teach_unlabelled(path, network, tmp_path / "taught.npz")
    taught = arrays_of(tmp_path / "taught.npz")
    assert set(taught) == {"inst", "ignore", "foreground"}
    assert {a.shape for a in taught.values()} == {(2, 64, 80)}
    assert not taught["ignore"].any()


def test_what_a_teacher_wrote_is_learned_from(tmp_path):
    path = write_sections(tmp_path, (3, 64, 64))
    taught = tmp_path / "taught.npz"
    teach(path, path, _Darkness(), taught, 0.5)

    def first_batch(labels):
        volume = TrainingVolume("sections", path, labels, (0, 3), axes=(0,))
        plain = Augmentation(untouched=1.0)
        run = TrainingConfig(
            tmp_path, (volume,), None, augmentation=plain, batch=2, crop=64, seed=1
        )
        return draw_batch(load_volumes(run), run, 0)

    plain, soft = first_batch(path), first_batch(taught)
    assert set(np.unique(plain.foreground)) == {0.0, 1.0}
    inside = soft.foreground[plain.foreground == 1]
    outside = soft.foreground[plain.foreground == 0]
    assert 0.8 < float(inside.mean()) < 0.99
    assert 0.1 < float(outside.mean()) < 0.4
    # Objects are told apart as the labels say.
    assert torch.equal(plain.offsets, soft.offsets)
    assert torch.equal(plain.heatmap, soft.heatmap)
    assert torch.equal(plain.weight, soft.weight)


def test_a_teacher_needs_something_to_look_at(tmp_path):
    with pytest.raises(InvalidInputError, match="--unlabelled"):
        with_teacher(TrainingConfig(tmp_path, ()), tmp_path / "teacher.pt", 0.5)


def test_a_run_asks_its_teacher_once_and_goes_on_as_it_began(tmp_path):
    torch.manual_seed(0)
    write_network(tmp_path / "teacher.pt", MitoNet(TINY), TINY)
    labelled = write_sections(tmp_path, (3, 64, 64))
    np.savez(tmp_path / "more.npz", em=arrays_of(labelled)["em"][:2])

    def run(output):
        volume = TrainingVolume("sections", labelled, labelled, (0, 2), (2, 3), axes=(0,))
        plain = TrainingConfig(
            tmp_path / output,
            (volume,),
            None,
            TINY,
            iterations=4,
            batch=2,
            crop=64,
            checkpoint_every=2,
            threads=1,
        )
        return with_teacher(plain, tmp_path / "teacher.pt", 0.5, [tmp_path / "more.npz"])

    whole = run("whole")
    assert [(v.name, v.trust, v.training) for v in whole.volumes] == [
        ("sections", 0.5, (0, 2)),
        ("more", 0.0, (0, 2)),
    ]
    lines = []
    weights = train(whole, lines.append)
    # Held-out sections are scored by their labels, not by what the teacher makes of them.
    assert set(lines[-1].validation) == {"sections"}
    written = sorted((tmp_path / "whole" / "taught").iterdir())
    assert len(written) == 2
    assert all(path.suffix == ".npz" for path in written)
    train(run("halves"), stop_after=2)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "halves" / "taught").iterdir()}
    again = train(run("halves"))
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert weights.read_bytes() == again.read_bytes()
    assert json.loads((tmp_path / "whole" / "curve.json").read_text())["config"]["teacher"] == (
        hashlib.sha256((tmp_path / "teacher.pt").read_bytes()).hexdigest()
    )


def test_a_warp_moves_how_likely_with_the_labels():
    labels = np.zeros((80, 80), np.int32)
    labels[30:50, 25:60] = 1
    source = LabelledSlice(
        labels.astype(np.float32), labels, labels == 2, labels.astype(np.float32)
    )
    for seed in range(8):
        crop = warp(source, 64, Augmentation(scale=(0.6, 1.8)), np.random.default_rng(seed))
        assert ((crop.foreground > 0.5) == (crop.labels > 0)).mean() > 0.97
        assert crop.foreground.min() >= 0
        assert crop.foreground.max() <= 1


def test_a_seam_between_two_is_background_whatever_the_teacher_says():
    labels = np.zeros((64, 64), np.int32)
    labels[16:48, 8:32] = 1
    labels[16:48, 32:56] = 2
    likely = np.full(labels.shape, 0.7, np.float32)
    answers = make_targets(labels, labels == 3, 8.0, favour_small=True, foreground=likely)
    assert (answers.foreground[20:44, 31:33] == 0).all()
    assert (answers.foreground[20:44, 40:50] == np.float32(0.7)).all()
    plain = make_targets(labels, labels == 3, 8.0, foreground=likely)
    assert (plain.foreground == np.float32(0.7)).all()


def test_the_overlap_costs_one_minus_the_iou_and_is_least_at_the_truth(tmp_path):
    path = write_sections(tmp_path, (3, 64, 64))
    volume = TrainingVolume("sections", path, path, (0, 3), axes=(0,))
    run = TrainingConfig(tmp_path, (volume,), None, batch=2, crop=64)
    batch = draw_batch(load_volumes(run), run, 0)

    def overlap(logits, batch=batch):
        output = {
            "sem_logits": logits,
            "ctr_hmp": torch.zeros(2, 1, 16, 16),
            "offsets": torch.zeros(2, 2, 16, 16),
            "sem_points": torch.zeros(2, 1, 64),
            "point_coords": torch.rand(2, 64, 2),
        }
        with_it, without = (
            losses(output, batch, LossWeights(overlap=weight))["semantic"] for weight in (1, 0)
        )
        return float(with_it - without)

    truth = batch.foreground
    moved = truth.roll(7, dims=3)
    known = batch.weight > 0
    both = ((truth > 0) & (moved > 0) & known).sum()
    either = (((truth > 0) | (moved > 0)) & known).sum()
    assert overlap(200 * moved - 100) == pytest.approx(1 - float(both / either), abs=1e-3)
    assert overlap(200 * truth - 100) == pytest.approx(0, abs=1e-3)
    # Where nothing is certain the truth's own probabilities are the best answer.
    soft = torch.full_like(truth, 0.6)
    unsure = dataclasses.replace(batch, foreground=soft)
    costs = [overlap(torch.full_like(truth, p).logit(), unsure) for p in (0.4, 0.6, 0.8)]
    assert costs[1] == pytest.approx(0, abs=1e-3)
    assert min(costs[0], costs[2]) > 0.1
