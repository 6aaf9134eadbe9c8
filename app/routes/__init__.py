"""One blueprint per resource; none knows another."""

from app.routes import (
    beside,
    catalogue,
    direct,
    edits,
    events,
    found,
    health,
    history,
    images,
    labels,
    maps,
    pages,
    previews,
    segment,
    sessions,
    shares,
    volumes,
    zarr,
)

__all__ = ["BLUEPRINTS"]

BLUEPRINTS = (
    pages.blueprint,
    health.blueprint,
    volumes.blueprint,
    segment.blueprint,
    edits.blueprint,
    history.blueprint,
    shares.blueprint,
    sessions.blueprint,
    events.blueprint,
    images.blueprint,
    labels.blueprint,
    zarr.blueprint,
    previews.blueprint,
    found.blueprint,
    maps.blueprint,
    catalogue.blueprint,
    beside.blueprint,
    direct.blueprint,
)
