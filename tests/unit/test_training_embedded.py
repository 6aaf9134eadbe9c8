"""The network in the package is as good as its card says, on sections it was not trained on."""

from pathlib import Path

import pytest

from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.models.registry import find_model
from segmentation_backend.models.weights import load
from segmentation_backend.training.scoring import known_sections, score

DATA = Path(__file__).parents[2] / "../shared/data"
CARD = Path(__file__).parents[2] / "docs" / "model-card.md"
HELD_OUT = [labelled for labelled in known_sections(DATA) if labelled.note == "held out"]


def test_the_card_names_the_weights_that_are_shipped(tmp_path):
    assert find_model("mitoglance_small", tmp_path).sha256 in CARD.read_text()


@pytest.mark.skipif(not HELD_OUT, reason="the labelled FIB-SEM cubes are not here")
@pytest.mark.parametrize("labelled", HELD_OUT, ids=lambda labelled: labelled.name)
@pytest.mark.parametrize("min_area", [0, 20])
def test_held_out_sections_are_segmented_well(labelled, min_area, tmp_path):
    network = load(find_model("mitoglance_small", tmp_path), tmp_path)
    scores = score(labelled, network, InferenceParameters(), min_area=min_area)
    assert scores.foreground_iou >= 0.75
    assert scores.f1 >= 0.70
