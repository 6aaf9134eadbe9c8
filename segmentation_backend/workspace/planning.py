"""What a segmentation will do, decided before any worker is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod
from typing import Any, NamedTuple

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi, ScaleLevel, VoxelSize, nearest_level
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.workspace.catalog import VolumeInfo
from segmentation_backend.workspace.drawn_regions import Polygon, narrowed, with_span

__all__ = [
    "EMPANADA_EXACT",
    "MODES",
    "PLANES",
    "PURPOSES",
    "VOXEL_SIZES_NM",
    "GreyRange",
    "SegmentationPlan",
    "check_budget",
    "check_choice",
    "check_grey_range",
    "check_voxel_size",
    "plan_region",
    "plan_sections",
    "published_greys",
]

MODES = ("slice", "stack", "orthoplane")
PLANES = {"xy": 0, "xz": 1, "yz": 2}
"""The axis (of z, y, x) that a plane is perpendicular to."""

EMPANADA_EXACT = "empanada-exact"

PURPOSES = ("segment", "follow", "warm")
"""What a run is for: somebody asked for it; it follows a view, and is no operation where it adds
nothing; it only fills the cache of blocks, for a view that may come."""

VOXEL_SIZES_NM = (0.1, 10_000)
"""The least and the greatest voxel size that may be asked for."""


class GreyRange(NamedTuple):
    """Grey values as a viewer shows them."""

    low: float
    """Shown black; above `high` where the image is shown inverted."""
    high: float
    """Shown white."""


@dataclass(frozen=True, slots=True)
class SegmentationPlan:
    """A region, a level, a model and its parameters: all that a worker needs to know."""

    volume: str
    roi: Roi
    """Level-0 voxels, inside the volume."""
    mode: str
    plane: str
    level: int
    """Image level that the network reads."""
    level_voxel_size: VoxelSize
    level_roi: Roi
    """The region in voxels of that level."""
    model: str
    existing: str
    parameters: InferenceParameters
    grey_range: GreyRange | None = None
    """What is shown as black and white, to be taken instead of the volume's own statistics."""
    centre: tuple[float, float, float] | None = None
    """Level-0 voxel near which the work begins; the region's middle without it."""
    is_rehearsal: bool = False
    """Whether it shall only be said what would change."""
    engine: str = "exact"
    """What runs the network, one of `models.specs.ENGINES`."""
    class_ids: tuple[int, ...] = ()
    """Which of the model's classes are looked for; its first thing where not given."""
    preset: str | None = None
    """`empanada-exact`: the region as empanada computes it, not as the blocks that it meets."""
    polygon: Polygon | None = None
    """On the plane, extruded over the region: what lies outside of it stays as it is."""
    purpose: str = "segment"
    """One of `PURPOSES`."""
    sections: tuple[int, ...] | None = None
    """Level-0 sections of the plane, ascending, each segmented for itself; `roi` is around them."""
    keep_maps: bool = False
    """Whether the network's maps are kept for the viewer."""
    keep_stacks: bool = False
    """Mode "orthoplane": whether what each of the three stacks shows is kept for the viewer."""

    @property
    def class_id(self) -> int | None:
        """The first class that is looked for."""
        return next(iter(self.class_ids), None)

    @property
    def voxels(self) -> int:
        """The number of voxels the network will see."""
        if self.sections is None:
            return self.level_roi.size
        sides = [s for a, s in enumerate(self.level_roi.shape) if a != PLANES[self.plane]]
        return len(self.sections) * prod(sides)

    def by_section(self, voxel_size: VoxelSize) -> list[SegmentationPlan]:
        """Return a plan for each of the sections (itself without any), given level 0's voxels."""
        if self.sections is None:
            return [self]
        axis = PLANES[self.plane]
        factor = self.level_voxel_size[axis] / voxel_size[axis]
        first, end = self.level_roi.offset[axis], self.level_roi.end[axis]
        return [
            replace(
                self,
                roi=with_span(self.roi, axis, section, 1),
                # The voxel of the level around the section's middle.
                level_roi=with_span(
                    self.level_roi, axis, min(max(first, int((section + 0.5) / factor)), end - 1), 1
                ),
                sections=None,
            )
            for section in self.sections
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as stored with the job and in the operation's provenance."""
        return {
            "volume": self.volume,
            "roi": self.roi.to_json(),
            "mode": self.mode,
            "plane": self.plane,
            "level": self.level,
            "level_voxel_size": list(self.level_voxel_size),
            "level_roi": self.level_roi.to_json(),
            "voxels": self.voxels,
            "model": self.model,
            "existing": self.existing,
            "parameters": self.parameters.to_json(),
            "grey_range": None if self.grey_range is None else self.grey_range._asdict(),
            "centre": None if self.centre is None else list(self.centre),
            "is_rehearsal": self.is_rehearsal,
            "engine": self.engine,
            "class_id": self.class_id,
            "class_ids": list(self.class_ids),
            "preset": self.preset,
            "purpose": self.purpose,
            "polygon": None if self.polygon is None else [list(p) for p in self.polygon],
            "sections": None if self.sections is None else list(self.sections),
            "keep_maps": self.keep_maps,
            "keep_stacks": self.keep_stacks,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SegmentationPlan:
        """Return the plan that `to_json` wrote."""
        z, y, x = value["level_voxel_size"]
        return cls(
            volume=value["volume"],
            roi=Roi.from_json(value["roi"]),
            mode=value["mode"],
            plane=value["plane"],
            level=value["level"],
            level_voxel_size=(z, y, x),
            level_roi=Roi.from_json(value["level_roi"]),
            model=value["model"],
            existing=value["existing"],
            parameters=InferenceParameters.from_json(value["parameters"]),
            # Jobs of earlier releases have none of these.
            grey_range=GreyRange(**value["grey_range"]) if value.get("grey_range") else None,
            centre=_triple(value["centre"]) if value.get("centre") else None,
            is_rehearsal=value.get("is_rehearsal", False),
            engine=value.get("engine", "exact"),
            class_ids=_class_ids(value),
            preset=value.get("preset"),
            purpose=value.get("purpose", "segment"),
            polygon=_polygon(value.get("polygon")),
            sections=tuple(value["sections"]) if value.get("sections") else None,
            keep_maps=value.get("keep_maps", False),
            keep_stacks=value.get("keep_stacks", False),
        )


def plan_region(
    info: VolumeInfo,
    roi: Roi,
    mode: str,
    plane: str,
    level: int | None,
    model_voxel_size: float,
    sections: Sequence[int] | None = None,
) -> tuple[Roi, ScaleLevel, Roi]:
    """Return the region clipped to the volume, the image level to read, and the region there.

    Without a `level`, the one whose voxels are nearest the model's is read. A region that lies
    outside the volume, or a slice that is more than one voxel thick, is refused, unless it is
    around single `sections`.
    """
    check_choice("mode", mode, MODES)
    check_choice("plane", plane, tuple(PLANES))
    clipped = roi.intersect(info.bounds)
    if clipped.is_empty:
        raise InvalidInputError(
            f"The region {roi} lies outside the volume {info.name}, which is {info.bounds}; "
            "move the view over the volume.",
            ErrorKind.ROI_OUT_OF_BOUNDS,
        )
    thickness = clipped.shape[PLANES[plane]]
    if mode == "slice" and thickness != 1 and sections is None:
        raise InvalidInputError(
            f"A slice in {plane} is one voxel thick, but the region {clipped} is {thickness} "
            'thick; ask for mode "stack", or for one plane.',
            ErrorKind.INVALID_PARAMETER,
        )
    scale = _choose_level(info, level, model_voxel_size)
    factor = [c / f for c, f in zip(scale.voxel_size, info.voxel_size, strict=True)]
    whole = Roi((0, 0, 0), scale.shape)
    return clipped, scale, clipped.downscale(factor).intersect(whole)


def plan_sections(
    info: VolumeInfo,
    roi: Roi,
    mode: str,
    plane: str,
    polygon: Polygon | None,
    sections: Sequence[int] | None,
) -> tuple[Roi, tuple[int, ...] | None]:
    """Return the box around what is asked for, and the sections that are each for themselves.

    Those of a stack are neighbours and need no list. InvalidInputError for a section outside the
    volume, sections of a stack with a gap, and a polygon outside of region or volume.
    """
    check_choice("mode", mode, MODES)
    check_choice("plane", plane, tuple(PLANES))
    axis = PLANES[plane]
    wanted = tuple(sorted(set(sections or ())))
    low, high = info.bounds.offset[axis], info.bounds.end[axis]
    outside = [section for section in wanted if not low <= section < high]
    if outside:
        raise InvalidInputError(
            f"Section {outside[0]} lies outside the volume {info.name}, whose {plane} sections are "
            f"{low} to {high - 1}.",
            ErrorKind.ROI_OUT_OF_BOUNDS,
        )
    if wanted and mode != "slice" and wanted[-1] - wanted[0] >= len(wanted):
        raise InvalidInputError(
            f"A {mode} has no gaps, but not all sections {wanted[0]} to {wanted[-1]} are named; "
            f'ask for {wanted[0]}-{wanted[-1]}, or for mode "slice".',
            ErrorKind.INVALID_PARAMETER,
        )
    box = narrowed(roi, axis, polygon, wanted)
    if box.intersect(info.bounds).is_empty and not roi.intersect(info.bounds).is_empty:
        raise InvalidInputError(
            f"The polygon lies outside the region {roi} of the volume {info.name}, which is "
            f"{info.bounds}; draw it over the volume.",
            ErrorKind.ROI_OUT_OF_BOUNDS,
        )
    return box, wanted if mode == "slice" and len(wanted) > 1 else None


def _class_ids(value: Mapping[str, Any]) -> tuple[int, ...]:
    one = value.get("class_id")
    return tuple(value.get("class_ids") or ([] if one is None else [one]))


def _polygon(value: Sequence[Sequence[float]] | None) -> Polygon | None:
    return None if value is None else tuple((float(a), float(b)) for a, b in value)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    z, y, x = values
    return (float(z), float(y), float(x))


def check_budget(plan: SegmentationPlan, max_voxels: int) -> None:
    """Refuse a plan with more voxels than a job may read."""
    if plan.voxels > max_voxels:
        side = round(max_voxels ** (1 / 3))
        level, count, box = plan.level, "", plan.level_roi
        way_out = f"Zoom in (a cube of about {side} voxels a side fits), or segment a single slice."
        if plan.sections is not None:
            count = f"{len(plan.sections)} sections of "
            box = with_span(box, PLANES[plan.plane], 0, 1)
            way_out = "Zoom in, or name fewer sections."
        z, y, x = box.shape
        raise InvalidInputError(
            f"The region is {count}{z} × {y} × {x} voxels (z, y, x) at level {level}, "
            f"{plan.voxels / 1e6:,.1f} million; the limit is {max_voxels / 1e6:,.1f} million. "
            f"{way_out}",
            ErrorKind.ROI_TOO_LARGE,
        )


def _choose_level(info: VolumeInfo, level: int | None, model_voxel_size: float) -> ScaleLevel:
    if level is None:
        return nearest_level(info.levels, model_voxel_size)
    if not 0 <= level < len(info.levels):
        raise InvalidInputError(
            f"{info.name} has levels 0 to {len(info.levels) - 1}, not {level}.",
            ErrorKind.INVALID_PARAMETER,
        )
    return info.levels[level]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is none of the choices."""
    if value not in choices:
        raise InvalidInputError(
            f"{name} must be one of {', '.join(choices)}, not {value!r}.",
            ErrorKind.INVALID_PARAMETER,
        )


def check_grey_range(value: GreyRange | None) -> None:
    """Refuse a range of grey values that is no range."""
    if value is not None and not (isfinite(value.low) and isfinite(value.high - value.low)):
        raise InvalidInputError(
            f"A range of grey values has two finite ends, not {value.low:g} and {value.high:g}.",
            ErrorKind.INVALID_PARAMETER,
        )
    if value is not None and value.low == value.high:
        raise InvalidInputError(
            f"Black and white are both {value.low:g}; show the image with some contrast first.",
            ErrorKind.INVALID_PARAMETER,
        )


def published_greys(info: VolumeInfo) -> GreyRange | None:
    """Return the range in which a volume is shown where that is inverted, or None.

    Networks were trained on dark membranes; of a range that is not inverted, the volume's own
    statistics tell them more.
    """
    low, high, inverted = info.shown
    return GreyRange(high, low) if inverted else None


def check_voxel_size(nm: float) -> float:
    """Return a wanted voxel size, or refuse one that no image of cells has."""
    low, high = VOXEL_SIZES_NM
    if not low <= nm <= high:
        raise InvalidInputError(
            f"The voxel size must be from {low:g} to {high:,} nm, not {nm:g}.",
            ErrorKind.INVALID_PARAMETER,
        )
    return nm
