"""The knobs of inference, with empanada's names and defaults, as one checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["InferenceParameters"]

_SWITCHES = ("fine_boundaries", "semantic_only", "allow_one_view", "fill_holes_in_segmentation")


@dataclass(frozen=True, slots=True)
class InferenceParameters:
    """How maps become objects; lengths are in pixels of the level that is segmented."""

    confidence_thr: float = 0.5
    """Probability from which a pixel is foreground, 0.1 to 0.9."""
    center_confidence_thr: float = 0.1
    """Height from which a peak of the heatmap is a centre, 0.05 to 0.9."""
    min_distance_object_centers: int = 3
    """Window in which only the highest centre counts, 1 to 35: in quarter-resolution pixels, or
    in full ones with `fine_boundaries`."""
    fine_boundaries: bool = False
    """Whether touching objects are told apart at full resolution rather than at a quarter."""
    semantic_only: bool = False
    """Whether objects are just the connected pieces of the foreground."""
    median_slices: int = 3
    """Stack mode: sections whose probabilities are median-filtered, odd, 1 to 11."""
    min_size: int = 500
    """Stack mode: voxels an object needs."""
    min_extent: int = 5
    """Stack mode: length of every side of the box an object needs, unless the region cuts it."""
    min_area: int = 20
    """Slice mode, and for each section of a stack: pixels an object needs."""
    match_iou_thr: float = 0.25
    """Stack mode: overlap (intersection over union) from which profiles of neighbouring sections
    are one object."""
    match_ioa_thr: float = 0.5
    """Stack mode: share of a profile inside another object from which it may join that."""
    pixel_vote_thr: int = 2
    """Orthoplane mode: of the three stacks how many must see a voxel, 1 to 3."""
    allow_one_view: bool = False
    """Orthoplane mode: whether an object may be one that only one stack sees."""
    maximum_objects_per_class: int = 10000
    """Objects of a class in a section, or in a volume, of which the largest are kept."""
    label_erosion: int = 0
    """Voxels by which objects shrink at the end, 0 to 50."""
    label_dilation: int = 0
    """Voxels by which objects then grow where nothing else is, 0 to 50."""
    fill_holes_in_segmentation: bool = False
    """Whether holes of objects are filled, section by section."""

    def __post_init__(self) -> None:
        """Refuse values outside of the documented ranges."""
        _check_number(self, "confidence_thr", 0.1, 0.9)
        _check_number(self, "center_confidence_thr", 0.05, 0.9)
        _check_number(self, "match_iou_thr", 0.05, 0.95)
        _check_number(self, "match_ioa_thr", 0.05, 1.0)
        _check_integer(self, "min_distance_object_centers", 1, 35)
        _check_integer(self, "median_slices", 1, 11)
        for name in ("min_size", "min_extent", "min_area"):
            _check_integer(self, name, 0, 2**31)
        _check_integer(self, "pixel_vote_thr", 1, 3)
        _check_integer(self, "maximum_objects_per_class", 1, 2**31)
        for name in ("label_erosion", "label_dilation"):
            _check_integer(self, name, 0, 50)
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise _refusal(name, "true or false", getattr(self, name))
        if self.median_slices % 2 == 0:
            raise _refusal("median_slices", "odd", self.median_slices)

    @classmethod
    def from_json(cls, value: object) -> InferenceParameters:
        """Return the parameters of a JSON object; absent ones keep their defaults."""
        if not isinstance(value, Mapping):
            raise InvalidInputError(
                f"Inference parameters must be an object of names and values, not {value!r}.",
                ErrorKind.INVALID_PARAMETER,
            )
        names = [field.name for field in fields(cls)]
        unknown = sorted(str(key) for key in value if key not in names)
        if unknown:
            raise InvalidInputError(
                f"There are no inference parameters {', '.join(unknown)}; there are "
                f"{', '.join(names)}.",
                ErrorKind.INVALID_PARAMETER,
            )
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Return every parameter, for provenance."""
        return asdict(self)


def _check_number(owner: InferenceParameters, name: str, low: float, high: float) -> None:
    value = getattr(owner, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise _refusal(name, f"a number from {low} to {high}", value)


def _check_integer(owner: InferenceParameters, name: str, low: int, high: int) -> None:
    value = getattr(owner, name)
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not low <= value <= high:
        raise _refusal(name, f"a whole number from {low} to {high}", value)


def _refusal(name: str, wanted: str, value: object) -> InvalidInputError:
    return InvalidInputError(
        f"{name} must be {wanted}, not {value!r}.", ErrorKind.INVALID_PARAMETER
    )
