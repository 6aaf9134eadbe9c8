"""`empanada-exact` gives the labels that empanada-napari 1.2.4 gave, voxel for voxel, id for id."""

import numpy as np
import pytest
from empanada_cases import CASES, STORED, Case, fingerprint, images, network

from segmentation_backend.inference import exact


def stored_images() -> dict[str, np.ndarray]:
    with np.load(STORED / "images.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_labels_are_empanadas(case: Case) -> None:
    image = stored_images()[case.image]
    seen = []

    def run(section, render_steps, interpolate_ins):
        seen.append(fingerprint(section))
        labels = case.model.labels
        classes = 1 if len(labels) == 1 else len(labels) + 1
        return network(section, render_steps, interpolate_ins, classes)

    with np.load(STORED / f"{case.name}.npz") as archive:
        expected, last_seen = archive["labels"], str(archive["seen"])
    if case.mode == "slice":
        found = exact.segment_slice_exact(image, run, case.model, case.parameters)
    elif case.mode == "orthoplane":
        volumes = exact.segment_orthoplane_exact(image, run, case.model, case.parameters)
        found = np.stack([volumes[kind] for kind in case.model.labels])
    else:
        volumes = exact.segment_stack_exact(image, run, case.model, case.parameters, case.mode)
        found = np.stack([volumes[kind] for kind in case.model.labels])
    assert found.dtype == np.int32
    assert seen[-1] == last_seen  # the network was given the same bits
    np.testing.assert_array_equal(found, expected)


def test_stored_images_are_those_of_the_cases() -> None:
    assert set(stored_images()) == set(images()) == {case.image for case in CASES}


def test_cases_reach_what_they_are_there_for() -> None:
    labels = {}
    for case in CASES:
        with np.load(STORED / f"{case.name}.npz") as archive:
            labels[case.name] = archive["labels"]
    assert labels["slice-overflow"].max() > 4 * 4  # ids beyond the last class
    assert (labels["stack-xy"] != labels["stack-median-5"]).any()
    different = {labels[f"orthoplane{end}"].tobytes() for end in ("", "-vote-1", "-vote-3")}
    assert len(different) == 3
