"""The entry point for gunicorn, or any other WSGI server."""

from __future__ import annotations

from flask import Flask

from app import create_app
from app.config import load_config

__all__ = ["make_app"]


def make_app() -> Flask:
    """Return the application as the environment and `mitoglance.toml` configure it."""
    return create_app(load_config())
