"""Scoring segments sections as the program does and compares them with their labels."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.models.published import EMBEDDED
from segmentation_backend.training.scoring import (
    MICROSCOPES,
    LabelledSections,
    Perturbation,
    known_sections,
    perturbed,
    score,
    score_box,
)


class Dark(nn.Module):
    """Dark is foreground; knows no centres."""

    def forward(self, x, render_steps=2, interpolate_ins=True):
        coarse = torch.zeros_like(x[..., ::4, ::4])
        return {"sem_logits": -4 * x, "ctr_hmp": coarse, "offsets": torch.cat([coarse] * 2, 1)}


@pytest.fixture
def labelled(tmp_path):
    inst = np.zeros((6, 40, 50), np.uint16)
    inst[:, 5:15, 5:15], inst[:, 20:35, 30:45], inst[:, 2:5, 40:43] = 1, 2, 3
    em = np.where(inst > 0, 60, 160).astype(np.uint8)
    em[4:] = 110  # nothing to be seen here
    np.savez(tmp_path / "em.npz", em=em)
    np.savez(tmp_path / "labels.npz", inst=inst[:4])
    return LabelledSections("cube", tmp_path / "em.npz", tmp_path / "labels.npz", (1, 4))


def test_sections_are_scored_one_by_one(labelled):
    told = []
    scores = score(labelled, Dark(), InferenceParameters(), lambda *n: told.append(n))
    assert (scores.true_positives, scores.f1) == (6, 1)
    assert scores.is_per_slice
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_every_true_profile_counts_where_none_is_too_small(labelled):
    scores = score(labelled, Dark(), InferenceParameters(), min_area=0)
    assert scores.false_negatives == 3


def test_only_sets_that_are_there_are_listed(tmp_path):
    assert known_sections(tmp_path) == []
    folder = tmp_path / "sstem_fly_vnc"
    folder.mkdir()
    (folder / "train_z00-11.npz").touch()
    (found,) = known_sections(tmp_path)
    assert found.name == "sstem_fly_vnc"
    assert "zero-shot" in found.note


def test_every_nth_section_is_scored(labelled):
    told = []
    part = dataclasses.replace(labelled, step=2)
    assert score(part, Dark(), InferenceParameters(), lambda *n: told.append(n)).f1 == 1
    assert told == [(1, 2), (2, 2)]


def test_objects_of_a_box_are_scored_in_3d(labelled):
    parameters = InferenceParameters(min_size=100, min_extent=1)
    scores = score_box(labelled, Dark(), EMBEDDED, parameters, "stack")
    assert not scores.is_per_slice
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (2, 0, 0)


def sections():
    rng = np.random.default_rng(5)
    image = rng.integers(40, 220, (3, 40, 60)).astype(np.uint8)
    inst = np.zeros(image.shape, np.uint16)
    inst[:, 10:30, 20:40] = 7
    return image, inst, inst > 9


def test_a_perturbation_that_changes_nothing_changes_nothing():
    image, inst, ignore = sections()
    same, labels, unknown = perturbed(image, inst, ignore, Perturbation("none"))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(labels, inst)
    np.testing.assert_array_equal(unknown, ignore)


@pytest.mark.parametrize("change", MICROSCOPES, ids=lambda change: change.name)
def test_labels_follow_the_pixels_of_another_microscope(change):
    image, inst, ignore = sections()
    first = perturbed(image, inst, ignore, change, seed=1)
    shape = (3, round(40 * change.zoom), round(60 * change.zoom))
    assert [part.shape for part in first] == [shape] * 3
    assert set(np.unique(first[1])) == {0, 7}
    assert (first[1] > 0).mean() == pytest.approx((inst > 0).mean(), rel=0.06)
    assert np.isfinite(first[0]).all()
    assert not np.array_equal(first[0], image)
    np.testing.assert_array_equal(first[0], perturbed(image, inst, ignore, change, seed=1)[0])


def test_each_change_does_what_it_says():
    image, inst, ignore = sections()

    def grey(**change):
        return perturbed(image, inst, ignore, Perturbation("", **change))[0]

    assert grey(blur=1.0).std() < 0.5 * image.std()
    assert (grey(noise=0.5) - image).std() == pytest.approx(0.5 * image.std(), rel=0.05)
    darker, brighter = grey(gamma=1.4), grey(gamma=0.7)
    assert darker.mean() < brighter.mean()
    assert np.corrcoef(darker.ravel(), image.ravel())[0, 1] > 0.97
    assert grey(clipped=10).max() < image.max()


def test_a_scored_perturbation_keeps_the_volumes_contrast(labelled):
    clear = Perturbation("a little noise", noise=0.05)
    scores = score(labelled, Dark(), InferenceParameters(), change=clear)
    assert scores.foreground_iou > 0.95
