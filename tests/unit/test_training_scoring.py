"""Scoring segments sections as the program does and compares them with their labels."""

import numpy as np
import pytest
import torch
from torch import nn

from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.training.scoring import LabelledSections, known_sections, score


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
