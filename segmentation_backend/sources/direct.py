"""Data that a browser can read from where they are stored: how they are described to a viewer.

A viewer is not given the own metadata of an image or of labels, of which it reads each dialect in
its own way, but documents made from our reading of them: three axes, nm, the first corner at 0 in
every level. Only the chunks come from the source, whose keys and encoding stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, TypeAlias
from urllib.parse import quote

from segmentation_backend.geometry import Coordinate, ScaleLevel
from segmentation_backend.sources.direct_formats import (
    LayerKind,
    NotDirectError,
    n5_array,
    precomputed_scale,
    zarr2_array,
    zarr3_array,
)
from segmentation_backend.sources.grids import pick_spatial_axes
from segmentation_backend.sources.pyramids import StoredLevel
from segmentation_backend.sources.specs import Location
from segmentation_backend.sources.stores import open_context, read_documents

__all__ = [
    "DirectLayer",
    "DirectLevel",
    "KeyPlace",
    "describe_direct",
    "direct_layer",
    "public_place",
]

Documents: TypeAlias = Mapping[str, Mapping[str, Any]]

_MOST_CHUNK_BYTES = 2**24
_LONGEST_SIDE = 2048
"""What graphics cards take as one texture."""
_MOST_CHUNKS_SEEN = 64
"""How many chunks of the coarsest stored level a section through the whole of it may meet: without
coarser ones, a viewer fetches them all when it shows all."""

_MARKS = {"zarr2": ".zarray", "zarr3": "zarr.json", "n5": "attributes.json", "precomputed": "info"}
_FORMATS = {"zarr": "zarr2", "neuroglancer_precomputed": "precomputed"}


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the keys below a folder are for anybody: `prefix + key + suffix`."""

    prefix: str
    suffix: str = ""
    is_quoted: bool = False
    """Whether the slashes of a key are written %2F."""

    def address(self, key: str) -> str:
        """Return the address of a key."""
        return self.prefix + quote(key, safe="" if self.is_quoted else "/") + self.suffix

    def below(self, folder: str) -> KeyPlace:
        """Return the place of the keys below a folder of this one."""
        stem = quote(folder, safe="" if self.is_quoted else "/")
        slash = "%2F" if self.is_quoted else "/"
        return KeyPlace(self.prefix + stem + slash, self.suffix, self.is_quoted)


@dataclass(frozen=True, slots=True)
class DirectLevel:
    """Where the chunks of a level are."""

    place: KeyPlace
    mark: str
    """The address of its metadata, which is there exactly if the level is."""
    offset: Coordinate = (0, 0, 0)
    """What is added to the numbers in the names of chunks (precomputed), x, y, z."""
    is_sharded: bool = False
    """Whether parts of files are asked for."""


@dataclass(frozen=True, slots=True)
class DirectLayer:
    """An image, or labels, as a viewer is told of it."""

    format: str
    """`zarr2`, `zarr3`, `n5` or `precomputed`."""
    documents: Documents
    """Metadata by their path below the address of the whole."""
    levels: tuple[DirectLevel, ...]
    """The path of each is its number, of N5 `s` and the number."""
    axes: tuple[str, ...]
    """The axes in the order in which the viewer has them."""


def direct_layer(
    levels: Sequence[ScaleLevel], stored: Sequence[StoredLevel], kind: LayerKind
) -> DirectLayer | str:
    """Return how a browser reads an image or labels from their source, or why only we can.

    `levels` are those that we read, of which the first are `stored`. Reads the metadata of each
    level; errors are those of `read_documents`.
    """
    try:
        for level in stored:
            public_place(level.source.location)
        documents = [_own_documents(level) for level in stored]
        return describe_direct(levels, stored, documents, kind)
    except NotDirectError as err:
        return str(err)


def describe_direct(
    levels: Sequence[ScaleLevel],
    stored: Sequence[StoredLevel],
    documents: Sequence[Documents],
    kind: LayerKind,
) -> DirectLayer:
    """Return the same from the metadata of each stored level, by name; reads nothing.

    Raises NotDirectError.
    """
    if not stored:
        raise NotDirectError("it is a file that browsers cannot read")
    driver = stored[0].source.driver
    form = _FORMATS.get(driver, driver)
    arrays, places, orders = [], [], []
    for level, one, own in zip(levels, stored, documents, strict=False):
        if one.is_turned:
            raise NotDirectError("it is stored in reverse along an axis")
        if _MARKS[form] not in own:
            raise NotDirectError("its metadata are no longer there")
        array = _ARRAYS[form](own[_MARKS[form]], one.source, kind)
        order = _order(form, one, array.shape)
        if tuple(array.shape[axis] for axis in order) != level.shape:
            raise NotDirectError("a part of a level is left out")
        _check_chunk(array.chunk, array.item_bytes)
        arrays.append(array.document)
        orders.append(order)
        place = public_place(one.source.location)
        mark = place.address(_MARKS[form])
        at = place.below(array.key) if array.key else place
        places.append(DirectLevel(at, mark, array.offset, array.is_sharded))
    if len(set(orders)) > 1:
        raise NotDirectError("its levels differ in their axes")
    coarsest = levels[len(stored) - 1].shape
    seen = _most_seen(coarsest, [array.chunk[axis] for axis in order])
    if len(levels) > len(stored) and seen > _MOST_CHUNKS_SEEN:
        raise NotDirectError("its coarser levels are computed here")
    names = ["zyx"[order.index(axis)] for axis in range(3)]
    group = _GROUPS[form](levels[: len(stored)], arrays, names)
    axes = tuple(names) if form in ("zarr2", "zarr3") else ("x", "y", "z")
    return DirectLayer(form, group, tuple(places), axes)


def public_place(location: Location) -> KeyPlace:
    """Return where anybody finds the keys below a location, or raise NotDirectError."""
    if location.archive is not None:
        raise NotDirectError("it is in a zip file")
    if location.driver == "file":
        raise NotDirectError("it is on the server's own disk")
    below = f"{quote(location.path)}/" if location.path else ""
    if location.driver == "http":
        if "?" in location.root or "@" in location.root:
            raise NotDirectError("its address holds a key that is not for everybody")
        # As somebody wrote it: it is an address already.
        path = f"/{location.path}/" if location.path else "/"
        return KeyPlace(location.root + path)
    if location.driver == "gcs":
        root = f"https://storage.googleapis.com/storage/v1/b/{location.root}/o/"
        stem = quote(f"{location.path}/" if location.path else "", safe="")
        return KeyPlace(root + stem, "?alt=media", is_quoted=True)
    endpoint = location.cloud.endpoint_url
    if endpoint:
        return KeyPlace(f"{endpoint.rstrip('/')}/{location.root}/{below}")
    if "." in location.root:
        # No certificate covers such a name in front of Amazon's.
        region = location.cloud.region or "us-east-1"
        return KeyPlace(f"https://s3.{region}.amazonaws.com/{location.root}/{below}")
    return KeyPlace(f"https://{location.root}.s3.amazonaws.com/{below}")


def _own_documents(level: StoredLevel) -> Documents:
    form = _FORMATS.get(level.source.driver, level.source.driver)
    if form not in _MARKS:
        raise NotDirectError("viewers do not know its format")
    return read_documents(level.source.location, [_MARKS[form]], open_context())


def _order(form: str, level: StoredLevel, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return which of the stored axes, in C order, are z, y and x."""
    if form == "precomputed":
        return (0, 1, 2)
    return pick_spatial_axes(level.source.level.axes, shape, level.source.location.url)


def _check_chunk(chunk: Sequence[int], item_bytes: int) -> None:
    if max(chunk) > _LONGEST_SIDE or prod(chunk) * item_bytes > _MOST_CHUNK_BYTES:
        raise NotDirectError(f"its chunks of {tuple(chunk)} voxels are too large for a browser")


def _most_seen(shape: Sequence[int], chunk: Sequence[int]) -> int:
    z, y, x = (ceil(side / step) for side, step in zip(shape, chunk, strict=True))
    return max(z * y, z * x, y * x)


_Described: TypeAlias = dict[str, Mapping[str, Any]]


def _multiscale(levels: Sequence[ScaleLevel], names: Sequence[str]) -> dict[str, Any]:
    datasets = []
    for number, level in enumerate(levels):
        size = dict(zip("zyx", level.voxel_size, strict=True))
        scale = [size[name] for name in names]
        # Where the middle of the first voxel lies, so that its corner is at 0.
        steps = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": [edge / 2 for edge in scale]},
        ]
        datasets.append({"path": str(number), "coordinateTransformations": steps})
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in names]
    return {"axes": axes, "datasets": datasets}


def _zarr2_group(
    levels: Sequence[ScaleLevel], arrays: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> _Described:
    multiscale = {"version": "0.4", **_multiscale(levels, names)}
    found: _Described = {".zgroup": {"zarr_format": 2}, ".zattrs": {"multiscales": [multiscale]}}
    for number, array in enumerate(arrays):
        found[f"{number}/.zarray"], found[f"{number}/.zattrs"] = array, {}
    return found


def _zarr3_group(
    levels: Sequence[ScaleLevel], arrays: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> _Described:
    ome = {"version": "0.5", "multiscales": [_multiscale(levels, names)]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    return {"zarr.json": group} | {f"{n}/zarr.json": array for n, array in enumerate(arrays)}


def _n5_group(
    levels: Sequence[ScaleLevel], arrays: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> _Described:
    if tuple(names) != ("z", "y", "x"):
        raise NotDirectError("its axes are in an unusual order")
    fine = levels[0].voxel_size
    factors = [
        [a / b for a, b in zip(level.voxel_size, fine, strict=True)][::-1] for level in levels
    ]
    group = {
        "axes": ["x", "y", "z"],
        "units": ["nm"] * 3,
        "resolution": list(fine[::-1]),
        "downsamplingFactors": factors,
    }
    return {"attributes.json": group} | {
        f"s{n}/attributes.json": array for n, array in enumerate(arrays)
    }


def _precomputed_group(
    levels: Sequence[ScaleLevel], arrays: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> _Described:
    del names
    scales = []
    for level, array in zip(levels, arrays, strict=True):
        size = {"resolution": list(level.voxel_size[::-1]), "voxel_offset": [0, 0, 0]}
        scales.append({**array["scale"], "key": str(level.level), **size})
    info = {
        "@type": "neuroglancer_multiscale_volume",
        "type": arrays[0]["type"],
        "data_type": arrays[0]["data_type"],
        "num_channels": 1,
        "scales": scales,
    }
    return {"info": info}


_ARRAYS: Mapping[str, Callable[..., Any]] = {
    "zarr2": zarr2_array,
    "zarr3": zarr3_array,
    "n5": n5_array,
    "precomputed": precomputed_scale,
}
_GROUPS: Mapping[str, Callable[..., _Described]] = {
    "zarr2": _zarr2_group,
    "zarr3": _zarr3_group,
    "n5": _n5_group,
    "precomputed": _precomputed_group,
}
