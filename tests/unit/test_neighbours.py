"""What was found beside, or over, what is in the labels already."""

import numpy as np

from segmentation_backend.geometry import Roi
from segmentation_backend.workspace.neighbours import alike, beside, going_on


def row(*labels: int) -> np.ndarray:
    return np.array(labels, np.uint32)[None, None]


def known(*ids: int) -> np.ndarray:
    return np.array(ids, np.uint64)[None, None]


def test_an_object_goes_on_as_what_it_covers_for_the_most_part() -> None:
    assert list(going_on(row(1, 1, 1, 1, 0), known(9, 9, 0, 0, 0))) == [(1, 9)]
    assert list(going_on(row(1, 1, 1, 1, 2), known(9, 9, 0, 2**63, 2**63))) == [(1, 9), (2, 2**63)]
    # Not as something that lies elsewhere for the most part,
    assert list(going_on(row(0, 0, 1, 1, 1), known(9, 9, 9, 0, 0))) == []
    # nor as one of two that are apart.
    assert list(going_on(row(1, 1, 1, 1, 1), known(8, 8, 9, 9, 0))) == []
    assert list(going_on(row(1, 1, 0, 0, 0), known(0, 0, 0, 0, 0))) == []


def test_two_sides_of_a_face_are_alike_where_they_overlap_by_half() -> None:
    assert list(alike(row(1, 1, 1, 0, 2), known(7, 7, 0, 0, 5))) == [(1, 7), (2, 5)]
    assert list(alike(row(1, 1, 1, 1), known(7, 0, 0, 0))) == []


def test_beside_a_polygon_lie_its_outline_and_both_ends() -> None:
    around, roi = Roi((0, 0, 0), (5, 6, 6)), Roi((1, 1, 1), (3, 4, 4))
    within = np.zeros((1, 6, 6), bool)
    within[0, 2:4, 1:4] = True
    low, high, band = beside(around, roi, within)
    assert (low[0], high[0]) == (Roi((0, 1, 1), (1, 4, 4)), Roi((4, 1, 1), (1, 4, 4)))
    assert np.asarray(low[1]).sum() == 6
    assert band[0] == Roi((1, 0, 0), (3, 6, 6))
    assert np.asarray(band[1]).sum() == 2 * 2 + 2 * 3
    assert not (np.asarray(band[1]) & within).any()
    assert [slab for slab, _ in beside(around, roi, None)] == [
        Roi((0, 1, 1), (1, 4, 4)),
        Roi((4, 1, 1), (1, 4, 4)),
        Roi((1, 0, 1), (3, 1, 4)),
        Roi((1, 5, 1), (3, 1, 4)),
        Roi((1, 1, 0), (3, 4, 1)),
        Roi((1, 1, 5), (3, 4, 1)),
    ]
