"""Our own scripts and styles, at addresses that change with them, so that browsers may keep them.

The address names the state of the whole folder: a module's imports are relative, and so are of the
same state. At `/static`, and under the name of another state, a file is asked for again each time.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from flask import Flask, url_for
from flask.typing import ResponseReturnValue

from app.neuroglancer import IMMUTABLE

__all__ = ["OwnFiles", "static_folder"]

_DIGITS = 12
_LOOKED_AT_S = 1.0
"""How long the folder is taken for what it was, while whoever writes a script tries it out."""


def static_folder() -> Path:
    """Return the folder of our scripts and styles: in the package, or beside it in a checkout."""
    here = Path(__file__).parent
    packaged = here / "static"
    return packaged if packaged.is_dir() else here.parent / "static"


class OwnFiles:
    """Serves the static folder under the name of its state; templates call `own_file(name)`."""

    def __init__(self, app: Flask) -> None:
        """Add the route and the templates' function."""
        self._folder = Path(str(app.static_folder))
        self._known = ("", float("-inf"))
        self._send = app.send_static_file
        app.add_url_rule("/own/<state>/<path:name>", "own_file", self._answer)
        app.jinja_env.globals["own_file"] = self._address

    def state(self) -> str:
        """Return a name for what all files are: with another name, size or time, another."""
        state, looked_at = self._known
        if time.monotonic() - looked_at > _LOOKED_AT_S:
            digest = hashlib.sha256()
            for path in sorted(p for p in self._folder.rglob("*") if p.is_file()):
                found, name = path.stat(), path.relative_to(self._folder)
                digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
            state = digest.hexdigest()[:_DIGITS]
            self._known = (state, time.monotonic())
        return state

    def _address(self, name: str) -> str:
        return url_for("own_file", state=self.state(), name=name)

    def _answer(self, state: str, name: str) -> ResponseReturnValue:
        response = self._send(name)
        if state == self.state():
            response.headers["Cache-Control"] = IMMUTABLE
        return response
