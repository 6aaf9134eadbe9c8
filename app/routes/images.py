"""Image voxels for the viewer: precomputed, uncompressed, cached for ever."""

from __future__ import annotations

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from app.answers import answer_chunk, answer_info
from app.departures import still_wanted_by
from app.descriptions import image_description
from app.precomputed import level_of, parse_chunk
from app.services import services
from segmentation_backend.errors import ErrorKind, NotFoundError, ReadOnlyError, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace import EncodedChunk, ImageChunk

__all__ = ["blueprint"]

blueprint = Blueprint("images", __name__, url_prefix="/image")


@blueprint.get("/<name>/info")
def info(name: str) -> ResponseReturnValue:
    """Describe the image in precomputed's terms."""
    return answer_info(image_description(name))


@blueprint.get("/<name>/<instance>/<int:level>/<chunk>")
def image_chunk(name: str, instance: str, level: int, chunk: str) -> ResponseReturnValue:
    """Send one chunk of the image."""
    parts = services()
    scale = level_of(parts.workspace.volume(name).levels, level)
    roi = parse_chunk(chunk, Roi((0, 0, 0), scale.shape))
    check_instance(instance)
    voxels = _read(name, level, roi)
    encoded = EncodedChunk(voxels.etag, lambda: voxels.data)
    return answer_chunk(encoded, parts.instance, is_immutable=True)


def _read(name: str, level: int, roi: Roi) -> ImageChunk:
    try:
        return services().images.chunk(name, level, roi, still_wanted_by(request.environ))
    except NotFoundError as err:
        # The image was moved away: the viewer takes 404 for "nothing there" and would show black.
        raise ResourceError(err.message, ErrorKind.SOURCE_UNAVAILABLE) from err
    except ReadOnlyError as err:
        # Or it may no longer be opened: the same with 403.
        raise ResourceError(err.message, err.kind) from err


def check_instance(instance: str) -> None:
    """Refuse an address that another data directory gave out."""
    if instance != services().instance:
        raise NotFoundError(
            "This address belongs to another data directory; reload the page.",
            ErrorKind.ROUTE_NOT_FOUND,
        )
