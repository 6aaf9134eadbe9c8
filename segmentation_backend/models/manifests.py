"""Model descriptions as empanada writes them: YAML beside the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.models.specs import ACTIVATIONS, ModelKind, ModelSpec, Origin

__all__ = [
    "LONGEST_MANIFEST",
    "WEIGHT_SUFFIXES",
    "Manifest",
    "file_name_of",
    "parse_manifest",
    "render_manifest",
]

LONGEST_MANIFEST = 64 * 1024
"""Bytes; real ones have about one thousand."""

WEIGHT_SUFFIXES = (".pth", ".pt", ".onnx")

_OURS = "mitoglance"
"""The key under which stands what empanada does not know."""

_SUITS_ALL = 128
"""A padding factor that suits every network of the family."""

_FINETUNING = {
    "criterion": "PanopticLoss",
    "criterion_params": {
        "ce_weight": 1,
        "l1_weight": 0.01,
        "mse_weight": 200,
        "pr_weight": 1,
        "top_k_percent": 0.2,
    },
    "engine": "PanopticDeepLabEngine",
}
"""What empanada's fine-tuning reads; its own defaults."""

_ENGINE = {
    "confidence_thr": 0.5,
    "label_divisor": 1000,
    "nms_kernel": 7,
    "nms_threshold": 0.1,
    "stuff_area": 64,
    "void_label": 0,
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A description, and where it says that the weights are."""

    spec: ModelSpec
    """Named after the file; its `file_name`s are the last parts of the addresses."""
    model: str
    """Path or URL, as written."""
    model_quantized: str | None


def parse_manifest(text: str, name: str) -> Manifest:
    """Return what a description says; `name` becomes the model's name.

    Only `model` must be there. FormatError (UNSUPPORTED_FORMAT) names the key that is wrong.
    """
    document = _load(text, name)
    model = _text(document, "model", name)
    if not model:
        raise _refusal(name, "it has no key 'model', which says where the weights are")
    quantized = _text(document, "model_quantized", name) or None
    for address in (model, quantized or model):
        if not file_name_of(address).endswith(WEIGHT_SUFFIXES):
            raise _refusal(name, f"{address!r} does not end with {', '.join(WEIGHT_SUFFIXES)}")
    names = _class_names(document.get("class_names"), document.get("labels"), name)
    labels = _integers(document, "labels", tuple(sorted(names)), name)
    things = _integers(document, "thing_list", labels, name)
    if not set(things) <= set(labels):
        raise _refusal(
            name, f"thing_list {list(things)} names classes that labels {list(labels)} does not"
        )
    ours = document.get(_OURS) or {}
    if not isinstance(ours, Mapping):
        raise _refusal(name, f"{_OURS} must be keys and values, not {ours!r}")
    spec = ModelSpec(
        name=name,
        description=_text(document, "description", name).strip() or f"Model {name}",
        licence=_text(ours, "licence", name) or "unknown",
        voxel_size_nm=_number(ours, "voxel_size_nm", 10.0, name),
        origin=Origin.FILE,
        file_name=file_name_of(model),
        norms=_norms(document.get("norms"), name),
        padding_factor=_padding(document.get("padding_factor", _SUITS_ALL), name),
        class_names={label: names.get(label, f"class {label}") for label in labels},
        url=model if "://" in model else None,
        sha256=_digest(ours, "sha256", name),
        kind=_kind(ours.get("kind", ModelKind.PANOPTIC.value), name),
        labels=labels,
        thing_list=things,
        quantized_file=file_name_of(quantized) if quantized else None,
        quantized_url=quantized if quantized and "://" in quantized else None,
        quantized_sha256=_digest(ours, "sha256_quantized", name),
        activation=_activation(ours.get("activation", "none"), name),
        parameters=_parameters(ours.get("parameters"), name),
    )
    return Manifest(spec, model, quantized)


def render_manifest(spec: ModelSpec) -> str:
    """Return the description of a model, its files named relative to it."""
    labels, things = list(spec.labels), list(spec.thing_list)
    document = {
        "model": spec.file_name,
        "model_quantized": spec.quantized_file,
        "class_names": dict(spec.class_names),
        "labels": labels,
        "thing_list": things,
        "padding_factor": spec.padding_factor,
        "norms": {"mean": spec.norms[0], "std": spec.norms[1]},
        "description": spec.description,
        "FINETUNE": {
            **_FINETUNING,
            **_data_set(labels, things),
            "engine_params": {**_ENGINE, "thing_list": things},
        },
        _OURS: {
            "kind": spec.kind.value,
            "licence": spec.licence,
            "voxel_size_nm": spec.voxel_size_nm,
            "activation": spec.activation,
            "parameters": dict(spec.parameters),
            "sha256": spec.sha256,
            "sha256_quantized": spec.quantized_sha256,
        },
    }
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text


def _data_set(labels: list[int], things: list[int]) -> dict[str, Any]:
    """Return the kind of training images that empanada takes for these classes."""
    if len(labels) == 1:
        return {
            "dataset_class": "SingleClassInstanceDataset",
            "dataset_params": {"weight_gamma": 0.7},
        }
    described = {"labels": labels, "thing_list": things, "label_divisor": _ENGINE["label_divisor"]}
    return {
        "dataset_class": "PanopticDataset",
        "dataset_params": {"weight_gamma": 0.7, **described},
    }


def file_name_of(address: str) -> str:
    """Return the last part of a path or URL, without its query; Windows paths too."""
    path = address.partition("?")[0] if "://" in address else address
    return PurePosixPath(path.replace("\\", "/")).name


def _load(text: str, name: str) -> Mapping[str, Any]:
    if len(text) > LONGEST_MANIFEST:
        raise _refusal(name, f"it is longer than {LONGEST_MANIFEST} characters")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _refusal(name, f"it is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(document, Mapping):
        raise _refusal(name, "it is not a list of keys and values")
    return document


def _text(document: Mapping[str, Any], key: str, name: str) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _refusal(name, f"{key} must be a text, not {value!r}")
    return value


def _number(document: Mapping[str, Any], key: str, default: float, name: str) -> float:
    value = document.get(key, default)
    if not _is(value, (int, float)) or not 0 < value < 1e9:
        raise _refusal(name, f"{key} must be a number above 0, not {value!r}")
    return float(value)


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _class_names(value: object, labels: object, name: str) -> dict[int, str]:
    if value is None:
        return {1: "mitochondrion"}
    if isinstance(value, list) and isinstance(labels, list) and len(labels) == len(value):
        # As older descriptions have it: in the order of the labels.
        value = dict(zip(map(str, labels), value, strict=True))
        value = {int(key) if key.isdecimal() else key: text for key, text in value.items()}
    pairs = list(value.items()) if isinstance(value, Mapping) else []
    if not pairs or not all(_is_label(key) and isinstance(text, str) for key, text in pairs):
        raise _refusal(name, f"class_names must give each class (1 to 255) a name, not {value!r}")
    return {int(key): str(text) for key, text in pairs}


def _is_label(value: object) -> bool:
    return _is(value, (int,)) and isinstance(value, int) and 0 < value < 256


def _integers(
    document: Mapping[str, Any], key: str, default: tuple[int, ...], name: str
) -> tuple[int, ...]:
    value = document.get(key)
    if value is None:
        return default
    known = isinstance(value, list) and all(_is_label(item) for item in value)
    if not known or len(set(value)) != len(value) or (key == "labels" and not value):
        raise _refusal(name, f"{key} must be different numbers from 1 to 255, not {value!r}")
    return tuple(value)


def _norms(value: object, name: str) -> tuple[float, float]:
    if value is None:
        return (0.57571, 0.12765)
    if not isinstance(value, Mapping):
        raise _refusal(name, f"norms must be mean and std, not {value!r}")
    mean, std = value.get("mean"), value.get("std")
    if isinstance(mean, int | float) and isinstance(std, int | float) and std > 0:
        return (float(mean), float(std))
    raise _refusal(name, f"norms must be numbers mean and std, std above 0, not {dict(value)}")


def _padding(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 4096:
        raise _refusal(name, f"padding_factor must be from 1 to 4096, not {value!r}")
    return value


def _kind(value: object, name: str) -> ModelKind:
    kinds = [kind.value for kind in ModelKind]
    if value not in kinds:
        raise _refusal(name, f"kind must be one of {', '.join(kinds)}, not {value!r}")
    return ModelKind(str(value))


def _activation(value: object, name: str) -> str:
    if value not in ACTIVATIONS:
        raise _refusal(name, f"activation must be {' or '.join(ACTIVATIONS)}, not {value!r}")
    return str(value)


def _parameters(value: object, name: str) -> dict[str, float | bool]:
    """Return inference parameters; whether there are such is not known here."""
    pairs = list(value.items()) if isinstance(value, Mapping) else []
    wrong = [key for key, item in pairs if not isinstance(key, str) or not _is_finite(item)]
    if wrong or not isinstance(value, Mapping | None):
        raise _refusal(
            name, f"parameters must be names, each with a number, true or false, not {value!r}"
        )
    return dict(pairs)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _digest(document: Mapping[str, Any], key: str, name: str) -> str | None:
    value = document.get(key)
    if value is None:
        return None
    digits = str(value).lower()
    if len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise _refusal(name, f"{key} must be 64 hexadecimal digits, not {value!r}")
    return digits


def _refusal(name: str, reason: str) -> FormatError:
    return FormatError(
        f"The description of the model {name} cannot be used: {reason}. Correct it and try again.",
        ErrorKind.UNSUPPORTED_FORMAT,
    )
