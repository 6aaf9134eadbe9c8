"""Loads weights that are what they claim to be: checked by SHA-256, fetched with TLS on."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.models.fetching import fetch, scratch_file
from segmentation_backend.models.mitonet import MitoNet, MitoNetConfig
from segmentation_backend.models.registry import ModelSpec, Origin

__all__ = ["digest", "load", "read_content", "read_network", "write_network", "write_torchscript"]

_FORMAT = "mitoglance-network-1"


def load(spec: ModelSpec, models_dir: Path) -> nn.Module:
    """Return the network of a model with its weights, in eval mode, on the CPU.

    A download is made where needed, and the SHA-256 of a file that is new to the models folder is
    written beside it. ResourceError (MODEL_UNAVAILABLE) where the file is not there and cannot be
    fetched; FormatError where it is not what it was, or cannot be read.
    """
    content = read_content(spec, models_dir)
    return _scripted(content, spec) if spec.is_torchscript else read_network(content, spec.name)


def read_content(spec: ModelSpec, models_dir: Path) -> bytes:
    """Return the bytes of a model's file, which are what they were; errors as of `load`."""
    return _read_package(spec) if spec.origin is Origin.PACKAGE else _read_file(spec, models_dir)


def write_torchscript(spec: ModelSpec, models_dir: Path, path: Path) -> None:
    """Write a model as a TorchScript file with MitoNet's call, whole or not at all."""
    with scratch_file(path.parent) as part:
        torch.jit.script(load(spec, models_dir)).save(str(part))  # type: ignore[no-untyped-call]
        part.replace(path)


def write_network(path: Path, network: MitoNet, config: MitoNetConfig) -> None:
    """Write a network's layout and weights, in half precision, whole or not at all."""
    state = {
        name: value.half() if value.is_floating_point() else value.clone()
        for name, value in network.state_dict().items()
    }
    contiguous = {name: value.contiguous() for name, value in state.items()}
    # Saved to a path, the file would hold its own name, and equal weights have unequal hashes.
    content = io.BytesIO()
    torch.save({"format": _FORMAT, "config": asdict(config), "state": contiguous}, content)
    part = path.with_suffix(".part")
    part.write_bytes(content.getvalue())
    part.replace(path)


def read_network(content: bytes, name: str) -> MitoNet:
    """Return the network of a file written by `write_network`, widened to float32, in eval mode.

    FormatError (WEIGHTS_UNREADABLE) where the content is anything else; no code in it is run.
    """
    try:
        value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if value["format"] != _FORMAT:
            raise _unreadable(name, f"its format is {value['format']!r}, not {_FORMAT!r}")
        network = MitoNet(_config(value["config"]))
        network.load_state_dict(value["state"])
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError) as error:
        raise _unreadable(
            name, str(error).splitlines()[0] if str(error) else "it ends early"
        ) from (error)
    network.eval()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def digest(content: bytes) -> str:
    """Return the SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _config(value: Mapping[str, Any]) -> MitoNetConfig:
    """Return a layout whose lists are tuples again."""
    layout: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return MitoNetConfig(**layout)


def _scripted(content: bytes, spec: ModelSpec) -> nn.Module:
    try:
        network: nn.Module = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise _unreadable(spec.file_name, str(error).splitlines()[0]) from error
    return network.eval()


def _unreadable(name: str, reason: str) -> FormatError:
    return FormatError(
        f"The weights {name} cannot be read ({reason}); delete the file and fetch it again.",
        ErrorKind.WEIGHTS_UNREADABLE,
    )


def _read_package(spec: ModelSpec) -> bytes:
    place = resources.files("segmentation_backend.models") / "weights_data" / spec.file_name
    content = place.read_bytes()
    if digest(content) != spec.sha256:
        raise FormatError(
            f"The weights of {spec.name} that came with the program have SHA-256 "
            f"{digest(content)}, not {spec.sha256}; install the program again.",
            ErrorKind.WEIGHTS_CHECKSUM_MISMATCH,
        )
    return content


def _read_file(spec: ModelSpec, models_dir: Path) -> bytes:
    """Return the content of a file of the models folder, the same as at its first use."""
    path = models_dir / spec.file_name
    if not path.is_file():
        _download(spec, path)
    content = path.read_bytes()
    record = path.with_name(f"{path.name}.sha256")
    if spec.sha256 is None and not record.is_file():
        record.write_text(f"{digest(content)}  {path.name}\n")
    expected = spec.sha256 or record.read_text().split()[0]
    if digest(content) != expected:
        raise FormatError(
            f"The weights {path} have SHA-256 {digest(content)}, but {expected} is recorded; "
            f"restore the file, or delete it and {record.name} if the change is wanted.",
            ErrorKind.WEIGHTS_CHECKSUM_MISMATCH,
        )
    return content


def _download(spec: ModelSpec, path: Path) -> None:
    """Fetch a file into its place, whole or not at all, and pin what came."""
    if spec.url is None:
        raise ResourceError(
            f"The weights of {spec.name} are not there; put the file {path.name} into "
            f"{path.parent}.",
            ErrorKind.MODEL_UNAVAILABLE,
        )
    try:
        fetch(spec.url, path, spec.sha256)
    except ResourceError as error:
        raise ResourceError(
            f"The weights of {spec.name} could not be fetched: {error.message} A file that you "
            f"trust is taken instead: put {path.name} into {path.parent}.",
            ErrorKind.MODEL_UNAVAILABLE,
        ) from error
