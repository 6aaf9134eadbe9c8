"""What every route needs, made once per process by `create_app`."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from app.client_files import ClientFiles
from app.config import Config
from app.direct_reading import DirectReading
from app.job_waits import JobWaits
from app.jobs import JobStore
from app.sessions import SessionStore
from app.shares import ShareStore
from segmentation_backend.workspace import ImageChunks, Workspace

__all__ = ["Services", "services"]


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that routes are made of."""

    config: Config
    workspace: Workspace
    images: ImageChunks
    sessions: SessionStore
    shares: ShareStore
    jobs: JobStore
    waits: JobWaits
    client: ClientFiles
    direct: DirectReading
    instance: str
    """The data directory's own random name (`storage.instance_id`)."""


def services() -> Services:
    """Return the parts of the application that is answering."""
    known: Services = current_app.extensions["mitoglance"]
    return known
