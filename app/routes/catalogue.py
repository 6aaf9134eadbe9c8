"""The catalogue of published datasets, for scripts."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.fields import Field
from app.requests import Values, takes
from app.routes.volumes import row_limit
from app.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("catalogue", __name__, url_prefix="/api/v1/catalogue")


@blueprint.get("")
@takes(
    query=(
        Field("search", "text", "Words that must all occur: name, title, organism, labels, DOI."),
        Field("limit", "integer", "How many at most; 100 without it."),
    )
)
def listing(query: Values) -> ResponseReturnValue:
    """List published datasets that can be opened by name, those with mitochondria first.

    `total` counts what was found; `problems` says which part of the catalogue cannot be used.
    """
    catalogue = services().workspace.catalogue
    known = catalogue.known()
    found = catalogue.search(query["search"] or "")
    return jsonify(
        ok=True,
        as_of=known.as_of,
        refreshed=known.refreshed,
        problems=[*known.problems, *([known.unreached] if known.unreached else [])],
        total=len(found),
        datasets=[dataset.to_json() for dataset in found[: row_limit(query["limit"], 100)]],
    )


@blueprint.get("/<name>")
def dataset(name: str) -> ResponseReturnValue:
    """Describe one dataset: images, published labels, how it is shown, licence and DOI."""
    return jsonify(ok=True, dataset=services().workspace.catalogue.find(name).to_json())
