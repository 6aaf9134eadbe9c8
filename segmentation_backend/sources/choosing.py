"""Which of several arrays in a file is meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, NotFoundError
from segmentation_backend.geometry import Coordinate
from segmentation_backend.sources.grids import pick_spatial_axes

__all__ = ["choose_array", "refuse_dataset", "spatial_sides"]

_SHOWN = 20


def choose_array(shapes: Mapping[str, tuple[int, ...]], dataset: str | None, path: Path) -> str:
    """Return the array that is named, or the only one that may be an image."""
    listed = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:_SHOWN])
    if dataset is not None:
        name = dataset.strip("/")
        if name in shapes:
            return name
        raise NotFoundError(
            f"{path} has no dataset {dataset!r}; it holds {listed or 'no arrays'}.",
            ErrorKind.PATH_NOT_FOUND,
        )
    images = [name for name, shape in shapes.items() if len(shape) >= 3]
    if len(images) == 1:
        return images[0]
    if images:
        raise InvalidInputError(
            f"{path} holds {len(images)} arrays that may be an image: {listed}. Choose one by "
            "naming it as the dataset.",
            ErrorKind.INVALID_PARAMETER,
        )
    raise FormatError(
        f"{path} holds no array with the three axes z, y, x; it holds {listed or 'nothing'}.",
        ErrorKind.UNSUPPORTED_RANK,
    )


def refuse_dataset(dataset: str | None, path: Path) -> None:
    """Refuse the name of an array within a file that holds one image only."""
    if dataset is not None:
        raise InvalidInputError(
            f"{path} holds one image only; leave out the dataset {dataset!r}.",
            ErrorKind.INVALID_PARAMETER,
        )


def spatial_sides(shape: tuple[int, ...], path: Path) -> Coordinate:
    """Return the shape without axes of one entry, where there are more than three."""
    z, y, x = (int(shape[axis]) for axis in pick_spatial_axes(None, shape, str(path)))
    return (z, y, x)
