"""What is known of a network before it is loaded: values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["ACTIVATIONS", "ENGINES", "EXACT_ENGINES", "ModelKind", "ModelSpec", "Origin"]

ACTIVATIONS = ("none", "sigmoid")

ENGINES = ("exact", "int8", "quantized", "eager", "fused", "openvino")
"""What a run may ask for; `exact` is the fastest one that is exact on this machine."""

EXACT_ENGINES = ("exact", "eager", "fused", "openvino")
"""Those whose maps are the network's own, but for rounding; `models.engines` says how near."""


class Origin(StrEnum):
    """Where a model's weights come from."""

    PACKAGE = "package"
    """Shipped with the program."""
    DOWNLOAD = "download"
    """Fetched into the models folder on first use."""
    FILE = "file"
    """Put into the models folder by someone who trusts it."""


class ModelKind(StrEnum):
    """How a model is called; `models.networks` says it in full."""

    PANOPTIC = "panoptic2d"
    """Sections in; foreground, centres and offsets out (MitoNet's family)."""
    AFFINITY = "affinity3d"
    """Blocks in; affinities of neighbouring voxels, or a boundary map, out."""


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
    """In the package or in the models folder; `.pth` is TorchScript, `.pt` a plain state dict,
    `.onnx` a graph."""
    norms: tuple[float, float] = (0.57571, 0.12765)
    """Mean and standard deviation, in units of the type's maximum, that its training images had.
    Inference feeds every volume with mean 0 and deviation 1 instead, which is what such images
    become; kept for export."""
    padding_factor: int = 16
    """What the sides of its input must be multiples of."""
    class_names: Mapping[int, str] = field(default_factory=lambda: {1: "mitochondrion"})
    """What each label is called; with one label the network gives one channel, else one more than
    there are labels, the background first."""
    url: str | None = None
    sha256: str | None = None
    """Of the file, where it is known beforehand."""
    kind: ModelKind = ModelKind.PANOPTIC
    labels: tuple[int, ...] = (1,)
    """The numbers of the classes, in the order of the network's channels."""
    thing_list: tuple[int, ...] = (1,)
    """Those of the labels whose objects are told apart; the others are one object each."""
    quantized_file: str | None = None
    """The same network with 8-bit weights, for CPUs: faster, not exact."""
    quantized_url: str | None = None
    quantized_sha256: str | None = None
    activation: str = "none"
    """What turns an affinity network's values into 0..1: nothing, or a sigmoid."""
    parameters: Mapping[str, float | bool] = field(default_factory=dict)
    """Inference parameters that this network does better with than with the program's defaults;
    what somebody asks for stands above them."""

    @property
    def is_torchscript(self) -> bool:
        """Whether the file holds code besides numbers."""
        return self.file_name.endswith(".pth")

    @property
    def is_onnx(self) -> bool:
        """Whether the file is an ONNX graph."""
        return self.file_name.endswith(".onnx")

    @property
    def has_classes(self) -> bool:
        """Whether there are several classes: softmax, not sigmoid."""
        return len(self.labels) > 1

    @property
    def default_class(self) -> int:
        """The class that a run is after where none is named: the first with single objects."""
        return (*self.thing_list, *self.labels)[0]

    def class_of(self, wanted: str | int | None) -> int:
        """Return the class of a name or an id, the default one for None.

        InvalidInputError where there is no such class.
        """
        if wanted is None:
            return self.default_class
        for label in self.labels:
            if wanted in (label, str(label), self.class_names.get(label)):
                return label
        known = ", ".join(f"{label} ({self.class_names.get(label, '?')})" for label in self.labels)
        raise InvalidInputError(
            f"The model {self.name} has no class {wanted!r}; it has {known}.",
            ErrorKind.INVALID_PARAMETER,
        )

    def classes_of(self, wanted: str | int | None) -> tuple[int, ...]:
        """Return the classes that a text names: one, several with commas between, or "all".

        In the order of the model's channels. InvalidInputError where there is no such class.
        """
        names = [*self.class_names.values(), *map(str, self.labels)]
        if wanted is None or not isinstance(wanted, str) or wanted in names:
            return (self.class_of(wanted),)
        if wanted == "all":
            return self.labels
        asked = {self.class_of(name.strip()) for name in wanted.split(",")}
        return tuple(label for label in self.labels if label in asked)

    def check_mode(self, mode: str) -> None:
        """Refuse a mode that this kind of network cannot do."""
        if self.kind is ModelKind.AFFINITY and mode == "orthoplane":
            raise InvalidInputError(
                f"The model {self.name} sees all three dimensions at once, so there are no planes "
                "to vote; ask for mode stack, or slice.",
                ErrorKind.INVALID_PARAMETER,
            )

    @property
    def is_research_only(self) -> bool:
        """Whether its licence says that it must not be used commercially."""
        return "non-commercial" in self.licence.lower()

    def is_present(self, models_dir: Path) -> bool:
        """Whether the weights can be loaded without a download."""
        return self.origin is Origin.PACKAGE or (models_dir / self.file_name).is_file()

    def quantized(self) -> ModelSpec:
        """Return the quantised variant as a model; InvalidInputError where there is none."""
        if self.quantized_file is None:
            raise InvalidInputError(
                f"The model {self.name} has no quantised variant; use it as it is, or the engine "
                "int8, which works with every model.",
                ErrorKind.INVALID_PARAMETER,
            )
        return replace(
            self,
            file_name=self.quantized_file,
            url=self.quantized_url,
            sha256=self.quantized_sha256,
            quantized_file=None,
            quantized_url=None,
            quantized_sha256=None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the model as the HTTP interface and provenance show it."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "description": self.description,
            "licence": self.licence,
            "is_research_only": self.is_research_only,
            "voxel_size_nm": self.voxel_size_nm,
            "origin": self.origin.value,
            "file_name": self.file_name,
            "quantized_file": self.quantized_file,
            "norms": list(self.norms),
            "padding_factor": self.padding_factor,
            "class_names": {str(key): value for key, value in self.class_names.items()},
            "labels": list(self.labels),
            "thing_list": list(self.thing_list),
            "activation": self.activation,
            "parameters": dict(self.parameters),
            "url": self.url,
            "sha256": self.sha256,
        }
