"""The networks one can choose, and where their weights come from; works without torch."""

from __future__ import annotations

import logging
from importlib import resources
from pathlib import Path

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, NotFoundError
from segmentation_backend.models.manifests import LONGEST_MANIFEST, WEIGHT_SUFFIXES, parse_manifest
from segmentation_backend.models.published import EMBEDDED, MITONET, MITONET_MINI, PUBLISHED
from segmentation_backend.models.specs import ModelKind, ModelSpec, Origin

__all__ = [
    "ModelKind",
    "ModelSpec",
    "Origin",
    "default_model",
    "find_model",
    "list_models",
    "read_manifest",
]

_log = logging.getLogger(__name__)


def list_models(models_dir: Path) -> list[ModelSpec]:
    """Return the known models, then those in the folder: registered ones, then bare files.

    A registered model is a description (YAML) beside its weights; one that cannot be read is left
    out with a line in the log, its weights are then a bare file.
    """
    known = [spec for spec in PUBLISHED if _is_shipped(spec)]
    taken = _files(known)
    registered = [spec for spec in _registered(models_dir) if not _files([spec]) & taken]
    taken |= _files(registered)
    found = sorted(path for path in models_dir.glob("*") if path.suffix in WEIGHT_SUFFIXES)
    return known + registered + [_local(path) for path in found if path.name not in taken]


def _is_shipped(spec: ModelSpec) -> bool:
    """Whether a model of the package is there: who may not hold its weights deletes the file."""
    place = resources.files("segmentation_backend.models") / "weights_data" / spec.file_name
    return spec.origin is not Origin.PACKAGE or place.is_file()


def _files(specs: list[ModelSpec]) -> set[str]:
    """Return the names of the specs' files."""
    names = {spec.file_name for spec in specs} | {spec.quantized_file for spec in specs}
    return {name for name in names if name is not None}


def _registered(models_dir: Path) -> list[ModelSpec]:
    specs = []
    for path in sorted(models_dir.glob("*.yaml")):
        try:
            spec = read_manifest(path)
        except FormatError as error:
            _log.warning("%s", error.message)
            continue
        if (models_dir / spec.file_name).is_file():
            specs.append(spec)
    return specs


def read_manifest(path: Path) -> ModelSpec:
    """Return the model that a description in the models folder is of; FormatError as it says."""
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_MANIFEST + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(
            f"The description {path} cannot be read ({error}); remove or replace it.",
            ErrorKind.UNSUPPORTED_FORMAT,
        ) from error
    return parse_manifest(text, path.stem).spec


def default_model(models_dir: Path) -> ModelSpec:
    """Return MitoNet_v1 where its file is in the folder, then the mini, else the embedded one."""
    for spec in (MITONET, MITONET_MINI):
        if spec.is_present(models_dir):
            return spec
    return EMBEDDED


def find_model(name: str, models_dir: Path) -> ModelSpec:
    """Return a model by name, or by the path of a file that lies in the models folder.

    NotFoundError lists the names; InvalidInputError for a path elsewhere, since a TorchScript
    file is code and only the folder's owner says what is trusted.
    """
    models = list_models(models_dir)
    for spec in models:
        if name in (spec.name, spec.file_name):
            return spec
    if "/" in name or "\\" in name:
        return _find_path(name, models, models_dir)
    names = ", ".join(spec.name for spec in models)
    raise NotFoundError(
        f"There is no model named {name!r}; there are {names}.", ErrorKind.MODEL_NOT_FOUND
    )


def _find_path(name: str, models: list[ModelSpec], models_dir: Path) -> ModelSpec:
    path = Path(name)
    if path.resolve().parent == models_dir.resolve():
        for spec in models:
            if spec.file_name == path.name and spec.is_present(models_dir):
                return spec
    raise InvalidInputError(
        f"The model file {name!r} is not in the models folder {models_dir}. If you trust it (a "
        "TorchScript file is code), register it with `mitoglance models add`, then name it.",
        ErrorKind.INVALID_PARAMETER,
    )


def _local(path: Path) -> ModelSpec:
    return ModelSpec(
        name=path.stem,
        description=f"Local file {path.name}",
        licence="unknown",
        voxel_size_nm=10.0,
        origin=Origin.FILE,
        file_name=path.name,
        kind=ModelKind.AFFINITY if path.suffix == ".onnx" else ModelKind.PANOPTIC,
        # A file says nothing about itself; 128 suits every network of the family.
        padding_factor=128 if path.suffix == ".pth" else 16,
    )
