"""Labels for other tools: every version, and the live labels, as a zarr v3 group; read only.

Every chunk on the grid has bytes, background too. Zarr would allow 404 there, meaning "all 0", but
then a reader could not tell background from a proxy or a mount that has lost its way; so 404 never
stands for background here, and a chunk that cannot be read is answered with 503, which readers
try again. A chunk of background costs about a hundred bytes, and 304 when it is asked for again.
"""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.answers import answer_chunk, answer_info
from app.label_address import find_labels
from app.services import services
from app.zarr_view import array_document, chunk_region, find_level, group_document
from segmentation_backend.geometry import ScaleLevel
from segmentation_backend.workspace import LabelForm

__all__ = ["blueprint"]

blueprint = Blueprint("zarr", __name__, url_prefix="/zarr")


@blueprint.get("/<source>/zarr.json")
def group(source: str) -> ResponseReturnValue:
    """Describe the labels of a volume, or of `<volume>@<version>`, as OME-NGFF."""
    levels = _levels(source)
    origin = services().workspace.volume(find_labels(source).volume).origin
    return answer_info(group_document(source, levels, origin))


@blueprint.get("/<source>/<level>/zarr.json")
def array(source: str, level: str) -> ResponseReturnValue:
    """Describe one level of the labels."""
    return answer_info(array_document(find_level(_levels(source), level)))


@blueprint.get("/<source>/<level>/c/<z>/<y>/<x>")
def chunk(source: str, level: str, z: str, y: str, x: str) -> ResponseReturnValue:
    """Send one chunk of root ids; unchanged live chunks answer 304 to their tag."""
    parts = services()
    labels = find_labels(source)
    scale = find_level(parts.workspace.volume(labels.volume).label_levels, level)
    roi = chunk_region(scale, (z, y, x))
    encoded = parts.workspace.label_chunk(
        labels.volume, labels.version, scale.level, roi, LabelForm.ZARR
    )
    return answer_chunk(encoded, parts.instance, is_immutable=labels.is_immutable)


def _levels(source: str) -> tuple[ScaleLevel, ...]:
    parts = services()
    labels = find_labels(source)
    levels = parts.workspace.volume(labels.volume).label_levels
    if labels.version is not None:
        parts.workspace.at(labels.volume, labels.version)
    return levels
