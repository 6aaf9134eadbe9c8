"""What a segmentation would change, as people read it."""

import pytest

from segmentation_backend.workspace.rehearsal import SegmentationChange


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ((0, 0, 0, 0, 0), "0 objects would be added."),
        ((1, 0, 0, 0, 4), "1 object would be added, 4 kept."),
        (
            (12, 3, 2, 1, 4),
            "12 objects would be added, 3 replaced, 2 cut at the region's faces, 1 joined to "
            "neighbours, 4 kept.",
        ),
    ],
)
def test_a_change_is_one_sentence_of_what_there_is(
    counts: tuple[int, int, int, int, int], sentence: str
) -> None:
    assert str(SegmentationChange(*counts)) == f"{sentence} Nothing was changed."
