"""The networks one can choose, and where their weights come from; works without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError

__all__ = ["ModelSpec", "Origin", "default_model", "find_model", "list_models"]


class Origin(StrEnum):
    """Where a model's weights come from."""

    PACKAGE = "package"
    """Shipped with the program."""
    DOWNLOAD = "download"
    """Fetched into the models folder on first use."""
    FILE = "file"
    """Put into the models folder by someone who trusts it."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A network: what it finds, what it wants to be fed, and where its weights are."""

    name: str
    description: str
    licence: str
    voxel_size_nm: float
    """The edge length of the voxels that it likes best."""
    origin: Origin
    file_name: str
    """In the package or in the models folder; `.pth` is TorchScript, `.pt` a plain state dict."""
    norms: tuple[float, float] = (0.57571, 0.12765)
    """Mean and standard deviation, in units of the type's maximum, that its training images had.
    Inference feeds every volume with mean 0 and deviation 1 instead, which is what such images
    become; kept for export."""
    padding_factor: int = 16
    """What the sides of its input must be multiples of."""
    class_names: Mapping[int, str] = field(default_factory=lambda: {1: "mitochondrion"})
    url: str | None = None
    sha256: str | None = None
    """Of the file, where it is known beforehand."""

    @property
    def is_torchscript(self) -> bool:
        """Whether the file holds code besides numbers."""
        return self.file_name.endswith(".pth")

    def is_present(self, models_dir: Path) -> bool:
        """Whether the weights can be loaded without a download."""
        return self.origin is Origin.PACKAGE or (models_dir / self.file_name).is_file()

    def to_json(self) -> dict[str, Any]:
        """Return the model as the HTTP interface and provenance show it."""
        return {
            "name": self.name,
            "description": self.description,
            "licence": self.licence,
            "voxel_size_nm": self.voxel_size_nm,
            "origin": self.origin.value,
            "file_name": self.file_name,
            "norms": list(self.norms),
            "padding_factor": self.padding_factor,
            "class_names": {str(key): value for key, value in self.class_names.items()},
            "url": self.url,
            "sha256": self.sha256,
        }


_EMBEDDED = ModelSpec(
    name="mitoglance_small",
    description="Panoptic-DeepLab with PointRend, 2.7 million parameters, for two CPU cores",
    licence="CC BY 4.0",
    voxel_size_nm=10.0,
    origin=Origin.PACKAGE,
    file_name="mitoglance_small.pt",
    sha256="eff6e79639228db91ccbd0f1e0c54c231e883ad2c393ef9ac7fff9c40ce1cfa2",
)

_ZENODO = "https://zenodo.org/record/6861565/files/{}?download=1"

_MITONET = ModelSpec(
    name="MitoNet_v1",
    description="MitoNet (Conrad and Narayan 2023), Panoptic-DeepLab with PointRend",
    licence="as stated on its record, doi 10.5281/zenodo.6861565",
    voxel_size_nm=12.0,
    origin=Origin.DOWNLOAD,
    file_name="MitoNet_v1.pth",
    url=_ZENODO.format("MitoNet_v1.pth"),
)

_MITONET_MINI = ModelSpec(
    name="MitoNet_v1_mini",
    description="MitoNet mini (Conrad and Narayan 2023), Panoptic-BiFPN with PointRend",
    licence="as stated on its record, doi 10.5281/zenodo.6861565",
    voxel_size_nm=12.0,
    origin=Origin.DOWNLOAD,
    file_name="MitoNet_v1_mini.pth",
    padding_factor=128,
    url=_ZENODO.format("MitoNet_v1_mini.pth"),
)


def list_models(models_dir: Path) -> list[ModelSpec]:
    """Return the known models, then those of other `.pth` and `.pt` files in the folder."""
    known = [_EMBEDDED, _MITONET, _MITONET_MINI]
    names = {spec.file_name for spec in known}
    found = sorted(p for p in models_dir.glob("*.pt*") if p.suffix in (".pt", ".pth"))
    return known + [_local(path) for path in found if path.name not in names]


def default_model(models_dir: Path) -> ModelSpec:
    """Return MitoNet_v1 where its file is in the folder, then the mini, else the embedded one."""
    for spec in (_MITONET, _MITONET_MINI):
        if spec.is_present(models_dir):
            return spec
    return _EMBEDDED


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
        f"The model file {name!r} is not a .pt or .pth file in the models folder {models_dir}; "
        "copy it there if you trust it (a TorchScript file is code) and name it.",
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
        # A file says nothing about itself; 128 suits every network of the family.
        padding_factor=128 if path.suffix == ".pth" else 16,
    )
