"""The knobs of `exact`, under empanada-napari 1.2.4's names and with its window's defaults."""

from __future__ import annotations

from dataclasses import dataclass

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.inference.parameters import InferenceParameters

__all__ = ["EXACT_DEFAULTS", "ExactModel", "ExactParameters"]

EXACT_DEFAULTS = {"match_ioa_thr": 0.25, "min_area": 0}
"""Where empanada's defaults are not those of `InferenceParameters`."""

_ABSENT = {
    "label_erosion": 0,
    "label_dilation": 0,
    "fill_holes_in_segmentation": False,
    "test_time_augmentation": False,
    "min_area": 0,
}
"""What empanada lacks, or has and fails at; see `exact`."""


@dataclass(frozen=True, slots=True)
class ExactModel:
    """What a published model's yaml says about it; the defaults are MitoNet v1's."""

    mean: float = 0.57571
    """Of grey values, as a share of the largest value that their type holds."""
    std: float = 0.12765
    padding_factor: int = 16
    """What the sides of the network's input must be multiples of."""
    labels: tuple[int, ...] = (1,)
    """Class ids, without background."""
    thing_list: tuple[int, ...] = (1,)
    """The classes that consist of single objects."""


@dataclass(frozen=True, slots=True)
class ExactParameters:
    """How maps become objects; lengths are in voxels of the image."""

    confidence_thr: float = 0.5
    """Probability from which a pixel is foreground, where there is one class."""
    center_confidence_thr: float = 0.1
    """Height above which a peak of the heatmap is a centre."""
    min_distance_object_centers: int = 3
    """Window in which only the highest centres count, in quarter-resolution pixels, or in full
    ones with `fine_boundaries`."""
    fine_boundaries: bool = False
    semantic_only: bool = False
    downsampling: int = 1
    """1, 2, 4 ... 64: the network sees sections so many times smaller."""
    median_slices: int = 3
    """Sections of the recursive median, odd; 1 leaves probabilities as they are."""
    min_size: int = 500
    min_extent: int = 5
    """Voxels that each side of an object's box needs."""
    label_divisor: int = 10000
    """Most objects of a class in a section: ids beyond it fall into the next class."""
    merge_iou_thr: float = 0.25
    """Overlap from which profiles of neighbouring sections are one object."""
    merge_ioa_thr: float = 0.25
    """Share of a profile inside another object from which it joins that."""
    pixel_vote_thr: int = 2
    """Stacks (of three) that a voxel of an object needs."""
    cluster_iou_thr: float = 0.75
    """Overlap above which detections of different stacks are taken for the same at once."""
    allow_one_view: bool = False
    """Whether an object may be kept that only one stack shows."""
    stuff_area: int = 64
    """Pixels of a section that a class without single objects needs."""

    @classmethod
    def of(cls, parameters: InferenceParameters) -> ExactParameters:
        """Return what `parameters` mean to empanada; InvalidInputError where they mean nothing."""
        for name, usual in _ABSENT.items():
            if getattr(parameters, name) != usual:
                raise _refusal(f"With the preset empanada-exact, {name}", str(usual), "set")
        return cls(
            confidence_thr=parameters.confidence_thr,
            center_confidence_thr=parameters.center_confidence_thr,
            min_distance_object_centers=parameters.min_distance_object_centers,
            fine_boundaries=parameters.fine_boundaries,
            semantic_only=parameters.semantic_only,
            median_slices=parameters.median_slices,
            min_size=parameters.min_size,
            min_extent=parameters.min_extent,
            label_divisor=parameters.maximum_objects_per_class,
            merge_iou_thr=parameters.match_iou_thr,
            merge_ioa_thr=parameters.match_ioa_thr,
            pixel_vote_thr=parameters.pixel_vote_thr,
            allow_one_view=parameters.allow_one_view,
        )

    def __post_init__(self) -> None:
        """Refuse what the original refuses or cannot mean."""
        power = self.downsampling
        if not 1 <= power <= 64 or power & (power - 1):
            raise _refusal("downsampling", "a power of two from 1 to 64", power)
        if self.median_slices < 1 or self.median_slices % 2 == 0:
            raise _refusal("median_slices", "odd", self.median_slices)
        if self.min_distance_object_centers < 1:
            raise _refusal(
                "min_distance_object_centers", "at least 1", self.min_distance_object_centers
            )
        if not 1 <= self.pixel_vote_thr <= 3:
            raise _refusal("pixel_vote_thr", "1, 2 or 3", self.pixel_vote_thr)
        if self.label_divisor < 2:
            raise _refusal("label_divisor", "at least 2", self.label_divisor)


def _refusal(name: str, wanted: str, value: object) -> InvalidInputError:
    return InvalidInputError(
        f"{name} must be {wanted}, not {value!r}.", ErrorKind.INVALID_PARAMETER
    )
