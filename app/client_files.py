"""The Neuroglancer client that ships in the `neuroglancer` wheel: found, read and compressed."""

from __future__ import annotations

import gzip
import mimetypes
import re
import threading
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

from segmentation_backend.errors import ErrorKind, NotFoundError

__all__ = ["ClientFile", "ClientFiles"]

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_HASHED = re.compile(r"(^|\.)[0-9a-f]{16}\.")
"""The wheel's build puts a 16-digit content hash into the name of each file that may change."""

_TEXT = (".js", ".css", ".html")
_COMPRESSION = 6
"""3.1 MB of scripts become 1.0 MB in about 0.15 s, once per process."""


@dataclass(frozen=True, slots=True)
class ClientFile:
    """One file of the client, ready to send."""

    content: bytes
    compressed: bytes | None
    """The same, gzipped, where that is worth it."""
    mimetype: str
    is_immutable: bool
    """Whether the name changes with the content."""


@dataclass
class _Index(HTMLParser):
    scripts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and (source := given.get("src")):
            self.scripts.append(source)
        if tag == "link" and given.get("rel") == "stylesheet" and (href := given.get("href")):
            self.styles.append(href)


class ClientFiles:
    """The files of the client by name, and what its index page loads."""

    def __init__(self) -> None:
        """Find the client without importing its server."""
        self._folder = Path(str(files("neuroglancer") / "static" / "client"))
        index = _Index()
        index.feed((self._folder / "index.html").read_text(encoding="utf-8"))
        self.scripts: tuple[str, ...] = tuple(index.scripts)
        """Names of the scripts that the page loads, in order."""
        self.styles: tuple[str, ...] = tuple(index.styles)
        self._texts: dict[str, ClientFile] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> ClientFile:
        """Return a file, or raise NotFoundError; scripts are compressed once and kept."""
        with self._lock:
            known = self._texts.get(name)
        if known is not None:
            return known
        path = self._folder / name
        if not _NAME.fullmatch(name) or not path.is_file():
            raise NotFoundError(
                f"The viewer has no file {name[:64]!r}; reload the page.", ErrorKind.ROUTE_NOT_FOUND
            )
        content = path.read_bytes()
        is_text = path.suffix in _TEXT
        file = ClientFile(
            content,
            gzip.compress(content, _COMPRESSION, mtime=0) if is_text else None,
            _mimetype(path),
            bool(_HASHED.search(name)),
        )
        if is_text:
            with self._lock:
                self._texts[name] = file
        return file


def _mimetype(path: Path) -> str:
    # Not left to the platform's table: a wrong type stops modules and wasm from loading.
    known = {".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm"}
    return known.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/json"
