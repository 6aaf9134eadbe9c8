"""What a page knows when it starts: session, volume, models, parameters and keys."""

from __future__ import annotations

from typing import Any

from app.keymap import ACTION_PREFIX, KEYMAP
from app.services import Services
from app.sessions import Session
from app.viewer import IMAGE_LAYER, LABEL_LAYER
from segmentation_backend.workspace import VOXEL_SIZES_NM, parameter_descriptions

__all__ = ["session_document"]


def session_document(parts: Services, session: Session, user: str) -> dict[str, Any]:
    """Return the session as pages and `GET /api/v1/sessions/<token>` get it."""
    workspace = parts.workspace
    info = workspace.volume(session.volume)
    pinned = session.pinned_version
    return {
        "id": session.token,
        "volume": session.volume,
        "pinned_version": pinned,
        "version": workspace.head(session.volume) if pinned is None else pinned,
        "read_only": session.read_only,
        "share_id": session.share_id,
        "user": user,
        "image_layer": IMAGE_LAYER,
        "label_layer": LABEL_LAYER,
        "voxel_size": list(info.voxel_size),
        "voxel_size_is_assumed": info.voxel_size_is_assumed,
        "bounds": info.bounds.to_json(),
        "has_base": info.labels is not None,
        "published": None if info.published is None else info.published.summary(),
        "levels": [level.to_json() for level in info.levels],
        "models": _models(parts),
        "parameters": [parameter.to_json() for parameter in parameter_descriptions()],
        "limits": {
            "max_voxels": workspace.max_voxels,
            "voxel_size_nm": list(VOXEL_SIZES_NM),
        },
        "keymap": [binding.to_json() for binding in KEYMAP],
        "action_prefix": ACTION_PREFIX,
    }


def _models(parts: Services) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "description": spec.description,
            "is_research_only": spec.is_research_only,
            "voxel_size_nm": spec.voxel_size_nm,
            "classes": [spec.class_names.get(label, str(label)) for label in spec.labels],
            "parameters": dict(spec.parameters),
            "is_default": position == 0,
        }
        for position, spec in enumerate(parts.workspace.models())
    ]
