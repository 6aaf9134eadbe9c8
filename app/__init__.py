"""The web: HTTP in, backend calls, Neuroglancer out."""

from __future__ import annotations

import logging

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app import errors, metrics, neuroglancer, security
from app.client_files import ClientFiles
from app.config import Config
from app.direct_reading import DirectReading
from app.job_waits import JobWaits
from app.jobs import JobStore
from app.own_files import OwnFiles, static_folder
from app.routes import BLUEPRINTS
from app.services import Services
from app.sessions import SessionStore
from app.shares import ShareStore
from app.storage import instance_id
from app.warm_images import WarmImages
from segmentation_backend.workspace import ImageChunks, WaitingRoom, Workspace

__all__ = ["create_app"]

MAX_BODY_BYTES = 2 * 2**20
"""The largest request: a view state with thousands of picked objects is far smaller."""


def create_app(config: Config) -> Flask:
    """Return the application on a data directory; call it after a fork, once per process."""
    logging.basicConfig(level=config.log_level.upper())
    app = Flask(__name__, static_folder=str(static_folder()), static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]

    workspace = Workspace(
        config.data_dir,
        config.database_url,
        config.cloud,
        max_voxels=config.max_voxels,
        packs=config.packs,
        catalogue=config.catalogue,
    )
    jobs = JobStore(workspace.engine)
    parts = app.extensions["mitoglance"] = Services(
        config=config,
        workspace=workspace,
        images=ImageChunks(
            workspace.begin_image,
            config.image_cache_mb * 2**20,
            # Half of the threads stay free for everything else, however slow the sources are.
            WaitingRoom(config.threads // 2),
        ),
        sessions=SessionStore(workspace.engine),
        shares=ShareStore(workspace.engine),
        jobs=jobs,
        waits=JobWaits(jobs, config.threads),
        client=ClientFiles(),
        direct=DirectReading(workspace, config.direct_reading),
        instance=instance_id(workspace.engine),
    )

    OwnFiles(app)
    errors.init_app(app)
    security.init_app(app)
    requests = metrics.init_app(app)
    app.register_blueprint(neuroglancer.blueprint)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    if config.trusted_proxies:
        hops = config.trusted_proxies
        proxied = ProxyFix(app.wsgi_app, hops, hops, hops, hops, hops)
        app.wsgi_app = proxied  # type: ignore[method-assign]
    app.wsgi_app = WarmImages(app.wsgi_app, parts, requests)  # type: ignore[method-assign]
    return app
