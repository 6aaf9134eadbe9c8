"""The knobs of inference, with empanada's names and defaults, as one checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, NamedTuple

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["InferenceParameters", "ParameterDescription", "parameter_descriptions"]

_MANY = 2**31


class _Range(NamedTuple):
    """The values a number may have."""

    low: float
    high: float
    step: float
    """Between two values that a form offers; whole numbers other than `low + n * step` are
    refused."""


_RANGES = {
    "confidence_thr": _Range(0.1, 0.9, 0.05),
    "center_confidence_thr": _Range(0.05, 0.9, 0.05),
    "min_distance_object_centers": _Range(1, 35, 1),
    "median_slices": _Range(1, 11, 2),
    "min_size": _Range(0, _MANY, 1),
    "min_extent": _Range(0, _MANY, 1),
    "min_area": _Range(0, _MANY, 1),
    "match_iou_thr": _Range(0.05, 0.95, 0.05),
    "match_ioa_thr": _Range(0.05, 1.0, 0.05),
    "pixel_vote_thr": _Range(1, 3, 1),
    "maximum_objects_per_class": _Range(1, _MANY, 1),
    "label_erosion": _Range(0, 50, 1),
    "label_dilation": _Range(0, 50, 1),
}
"""Every parameter that is a number; the others are switches."""

_HELP = {
    "confidence_thr": "How sure the network must be of a pixel. Higher finds less.",
    "center_confidence_thr": "How clear the centre of an object must be. Lower finds more objects, "
    "and may cut one in two.",
    "min_distance_object_centers": "How near each other two centres may be, in pixels at a quarter "
    "of the resolution (in full ones with fine boundaries). Higher cuts less.",
    "fine_boundaries": "Tell touching objects apart at full resolution. Slower.",
    "test_time_augmentation": "Let the network look at every section four times, mirrored in all "
    "ways, and take the mean. Often more right, and four times slower.",
    "semantic_only": "Make every connected piece of foreground one object, without centres.",
    "median_slices": "Sections whose probabilities are smoothed together; odd, 1 for none.",
    "min_size": "Voxels that an object of a box needs.",
    "min_extent": "Voxels that an object of a box must be long, wide and high, unless cut off.",
    "min_area": "Pixels that an object needs in every section.",
    "match_iou_thr": "Overlap (intersection over union) from which profiles in neighbouring "
    "sections are one object.",
    "match_ioa_thr": "Share of a profile inside another object from which it may join that object.",
    "pixel_vote_thr": "How many of the three planes must see a voxel.",
    "allow_one_view": "Keep objects that only one of the three planes sees.",
    "maximum_objects_per_class": "Objects of a class that a run may find. With more it ends and "
    "says so, and nothing is changed.",
    "label_erosion": "Voxels by which objects shrink at the end.",
    "label_dilation": "Voxels by which objects then grow, where nothing else is.",
    "fill_holes_in_segmentation": "Fill holes of objects, section by section, up to 64 pixels "
    "long and wide.",
}


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
    test_time_augmentation: bool = False
    """Whether maps are the mean of those of a section and its mirror images (`mirrors`); a network
    of cubes sees them as they are."""
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
    """Objects of a class that a run may find; a region with more is refused. Of a section that is
    segmented by itself (`panoptic.segment_maps`) so many of the largest are kept."""
    label_erosion: int = 0
    """Voxels by which objects shrink at the end, 0 to 50."""
    label_dilation: int = 0
    """Voxels by which objects then grow where nothing else is, 0 to 50."""
    fill_holes_in_segmentation: bool = False
    """Whether holes of objects are filled, section by section, before objects shrink or grow."""

    def __post_init__(self) -> None:
        """Refuse values outside of the documented ranges."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _RANGES:
                _check_number(field.name, value, isinstance(field.default, int))
            elif not isinstance(value, bool):
                raise _refusal(field.name, "true or false", value)

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

    def of_blocks(self) -> InferenceParameters:
        """Return what blocks depend on: what acts on a whole region is set to do nothing."""
        return replace(
            self,
            maximum_objects_per_class=_MANY,
            label_erosion=0,
            label_dilation=0,
            fill_holes_in_segmentation=False,
        )

    def to_json(self) -> dict[str, Any]:
        """Return every parameter, for provenance."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ParameterDescription:
    """What a form needs to know to ask for a parameter."""

    name: str
    """As in `InferenceParameters`."""
    default: float | bool
    kind: Literal["number", "integer", "switch"]
    low: float | None
    """The least value; None for a switch."""
    high: float | None
    """The greatest value; None for a switch."""
    step: float | None
    """From one value to the next; whole numbers between are refused. None for a switch."""
    help: str
    """One or two sentences for those who use it."""

    def to_json(self) -> dict[str, Any]:
        """Return the description as pages get it."""
        return asdict(self)


def parameter_descriptions() -> list[ParameterDescription]:
    """Return what may be set, with defaults and ranges, in the order of `InferenceParameters`."""
    defaults = InferenceParameters().to_json()
    return [_description(name, default) for name, default in defaults.items()]


def _description(name: str, default: float | bool) -> ParameterDescription:
    if name not in _RANGES:
        return ParameterDescription(name, default, "switch", None, None, None, _HELP[name])
    kind: Literal["number", "integer"] = "integer" if isinstance(default, int) else "number"
    return ParameterDescription(name, default, kind, *_RANGES[name], _HELP[name])


def _check_number(name: str, value: object, is_whole: bool) -> None:
    low, high, step = _RANGES[name]
    is_number = isinstance(value, int if is_whole else int | float) and not isinstance(value, bool)
    if not is_number or not isinstance(value, int | float) or not low <= value <= high:
        what = "a whole number" if is_whole else "a number"
        raise _refusal(name, f"{what} from {low} to {high}", value)
    if is_whole and (value - low) % step != 0:
        raise _refusal(name, "odd", value)


def _refusal(name: str, wanted: str, value: object) -> InvalidInputError:
    return InvalidInputError(
        f"{name} must be {wanted}, not {value!r}.", ErrorKind.INVALID_PARAMETER
    )
