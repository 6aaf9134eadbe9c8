"""Every setting, where it comes from, and the only reader of the environment."""

from __future__ import annotations

import ast
import inspect
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.sources.specs import ANY_SOURCE, CloudSettings, source_rules

__all__ = [
    "NO_CATALOGUE",
    "Config",
    "child_environment",
    "cloud_settings",
    "field_meanings",
    "has_display",
    "load_config",
    "settings_table",
    "user_data_folder",
]

FILE_NAME = "mitoglance.toml"
PREFIX = "MITOGLANCE_"
NO_CATALOGUE = "none"
"""The `catalogue_url` of a server that asks nobody."""


def user_data_folder() -> Path:
    """Return the folder where this platform keeps a user's data, without `mitoglance` in it."""
    environment = os.environ
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if sys.platform == "win32" and environment.get("LOCALAPPDATA"):
        return Path(environment["LOCALAPPDATA"])
    return Path(environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a server needs to know; equal for all of its processes."""

    data_dir: Path = field(default_factory=lambda: user_data_folder() / "mitoglance" / "data")
    """Folder of everything that is kept: database, label packs, imported images, models."""

    database_url: str | None = None
    """SQLAlchemy URL of the metadata database; a SQLite file in `data_dir` when unset."""

    packs: str | None = None
    """Where label packs are kept: a folder, or s3://bucket/prefix; a folder in `data_dir` when
    unset."""

    catalogue: Path | None = None
    """JSON file of datasets of your own, to be opened by name; `catalogue/own.json` in `data_dir`
    when unset."""

    catalogue_url: str = "https://raw.githubusercontent.com/janelia-cellmap/fibsem-metadata/master"
    """Address that the catalogue of datasets is refreshed from, once a day; none: never."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""

    port: int = 0
    """Port to listen on; 0 means 8080, or the next free one when that is taken."""

    workers: int = 2
    """Number of web processes."""

    threads: int = 16
    """Threads of each web process."""

    image_cache_mb: int = 128
    """MiB of image chunks that each web process keeps ready to be sent; 0: none."""

    browser: bool = True
    """Whether `demo` and `open` show the page in the default browser."""

    user: str = "anonymous"
    """Name written into operations when a request names no user."""

    scheduler: str | None = None
    """Address of a running Dask scheduler; a local worker process is started when unset."""

    compute_threads: int = 0
    """CPU threads of the local inference worker; 0 means all cores."""

    max_voxels: int = 2**26
    """Largest region, in voxels of the level it is read at, that one request may segment."""

    allow_registration: bool = True
    """Whether `POST /api/v1/volumes` may add volumes (paths are read as the server's user)."""

    sources: str | None = None
    """What that may open, separated by commas: folders, s3://bucket, https://server, `public` (s3,
    gs and https servers of the open internet), `any`; when unset `any`, and `public` when `host` or
    `trusted_proxies` let others in."""

    direct_reading: str = "auto"
    """Whether pages read public images, and published labels beside them, from their source
    themselves, where it lets them (CORS): auto, or never."""

    trusted_proxies: int = 0
    """Number of reverse proxies in front whose X-Forwarded-* headers are believed."""

    log_level: str = "warning"
    """One of debug, info, warning, error."""

    cloud: CloudSettings = field(default_factory=CloudSettings)
    """Object store access, from the clouds' own variables (AWS_*) only."""

    @property
    def open_over_network(self) -> str:
        """What may be opened over HTTP: `sources`, or what follows from who can reach the server.

        A proxy on the same machine lets others in, wherever the server itself listens.
        """
        alone = is_loopback(self.host) and not self.trusted_proxies
        return self.sources or (ANY_SOURCE if alone else "public")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


_SETTINGS = tuple(f for f in fields(Config) if f.name != "cloud")
_PATHS = ("data_dir", "catalogue")
_CHOICES = {
    "log_level": ("debug", "info", "warning", "error"),
    "direct_reading": ("auto", "never"),
}
_MINIMUM = {
    "port": 0,
    "workers": 1,
    "threads": 1,
    "compute_threads": 0,
    "max_voxels": 1,
    "trusted_proxies": 0,
}


def load_config(
    overrides: Mapping[str, object] | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    default_data_dir: Path | None = None,
) -> Config:
    """Return defaults < `mitoglance.toml` < MITOGLANCE_* environment < `overrides`.

    `default_data_dir` is where the data go when none of them says. `file` replaces the
    `mitoglance.toml` of the working directory and must exist. An unknown key, or a value of the
    wrong type, is an InvalidInputError that names where it stands.
    """
    environ = os.environ if environment is None else environment
    values: dict[str, object] = {}
    if default_data_dir is not None:
        values["data_dir"] = default_data_dir
    values |= _from_file(file)
    values |= _from_environment(environ)
    values |= {k: _checked(k, v, "the command line") for k, v in (overrides or {}).items()}
    return replace(Config(cloud=cloud_settings(environ)), **values)  # type: ignore[arg-type]


def _from_file(file: Path | None) -> dict[str, object]:
    path = file or Path(FILE_NAME)
    if not path.is_file():
        if file is None:
            return {}
        raise InvalidInputError(
            f"The settings file {path} does not exist; check --config.", ErrorKind.INVALID_PARAMETER
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise InvalidInputError(
            f"{path} is not valid TOML: {err}.", ErrorKind.INVALID_PARAMETER
        ) from err
    return {key: _checked(key, value, str(path)) for key, value in table.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for variable, text in environ.items():
        # An empty variable is unset: compose files pass those through.
        if variable.startswith(PREFIX) and text:
            key = variable.removeprefix(PREFIX).lower()
            values[key] = _checked(key, _parsed(key, text), f"the variable {variable}")
    return values


def _parsed(key: str, text: str) -> object:
    kind = _kind(key)
    if kind is bool and text.lower() in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        return text.lower() in ("1", "true", "yes", "on")
    if kind is int and text.removeprefix("-").isdecimal():
        return int(text)
    return text


def _kind(key: str) -> type | None:
    default = {f.name: f for f in _SETTINGS}.get(key)
    if default is None:
        return None
    for kind in (bool, int):
        if isinstance(default.default, kind):
            return kind
    return str


def _checked(key: str, value: object, where: str) -> object:
    kind = _kind(key)
    if kind is None:
        known = ", ".join(f.name for f in _SETTINGS)
        raise InvalidInputError(
            f"{where} sets {key!r}, which is not a setting. Settings are: {known}.",
            ErrorKind.INVALID_PARAMETER,
        )
    if key in _PATHS and isinstance(value, str | Path) and str(value):
        return Path(value).expanduser().absolute()
    if type(value) is not kind or value == "":
        raise _wrong(key, value, where, f"must be {_WORDS[kind]}")
    if key == "packs" and "://" not in str(value):
        # Every process must mean the same folder, wherever it was started.
        return str(Path(str(value)).expanduser().absolute())
    if key == "sources":
        _check_sources(str(value), where)
    if isinstance(value, int) and value < _MINIMUM.get(key, 0):
        raise _wrong(key, value, where, f"must be at least {_MINIMUM[key]}")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise _wrong(key, value, where, "must be one of " + ", ".join(_CHOICES[key]))
    return value


def _check_sources(text: str, where: str) -> None:
    try:
        source_rules(text)
    except InvalidInputError as err:
        raise InvalidInputError(f"In {where}: {err.message}", err.kind) from err


_WORDS = {bool: "true or false", int: "a whole number", str: "a text that is not empty"}


def _wrong(key: str, value: object, where: str, rule: str) -> InvalidInputError:
    return InvalidInputError(
        f"{where} sets {key} to {value!r}, but it {rule}.", ErrorKind.INVALID_PARAMETER
    )


def cloud_settings(environment: Mapping[str, str] | None = None) -> CloudSettings:
    """Return how to reach S3, from the clouds' standard variables."""
    environ = os.environ if environment is None else environment

    def first(*names: str) -> str | None:
        return next((environ[name] for name in names if environ.get(name)), None)

    return CloudSettings(
        endpoint_url=first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        access_key_id=first("AWS_ACCESS_KEY_ID"),
        secret_access_key=first("AWS_SECRET_ACCESS_KEY"),
        region=first("AWS_REGION", "AWS_DEFAULT_REGION"),
        session_token=first("AWS_SESSION_TOKEN"),
    )


def child_environment(config: Config) -> dict[str, str]:
    """Return this process's environment with `config` written over it, for a child process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    for setting in _SETTINGS:
        value = getattr(config, setting.name)
        if value is not None:
            kept[PREFIX + setting.name.upper()] = str(value)
    return kept


def has_display() -> bool:
    """Whether a graphical browser could open; without one, Python may start a text browser."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def settings_table() -> str:
    """Return the settings as the Markdown table of the README."""
    rows = ["| setting | default | environment | meaning |", "|---|---|---|---|"]
    meanings = field_meanings()
    for setting in _SETTINGS:
        default: Any = setting.default
        if setting.name == "data_dir":
            default = "the user's data folder"
        shown = "" if default is None else f"`{str(default).lower()}`"
        if setting.name == "data_dir":
            shown = default
        meaning = meanings[setting.name].replace("|", "\\|")
        rows.append(
            f"| `{setting.name}` | {shown} | `{PREFIX}{setting.name.upper()}` | {meaning} |"
        )
    return "\n".join(rows) + "\n"


def field_meanings() -> dict[str, str]:
    """Return the docstring under each field of `Config`, on one line, by the field's name."""
    body = ast.parse(inspect.getsource(Config)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[statement.target.id] = " ".join(str(after.value.value).split())
    return found
