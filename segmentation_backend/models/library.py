"""Models added to and taken from the models folder, by its owner.

A TorchScript file is code that runs wherever it is loaded, so adding one asks for `allow_code`;
nothing here loads any. Files are put into place whole, the description last: a model is either
registered or it is not.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    ResourceError,
)
from segmentation_backend.models.archives import holds_code, unpack, write_archive
from segmentation_backend.models.fetching import check_digest, fetch, file_digest
from segmentation_backend.models.manifests import (
    LONGEST_MANIFEST,
    WEIGHT_SUFFIXES,
    file_name_of,
    parse_manifest,
    render_manifest,
)
from segmentation_backend.models.published import PUBLISHED
from segmentation_backend.models.registry import find_model
from segmentation_backend.models.specs import ACTIVATIONS, ModelKind, ModelSpec, Origin

__all__ = ["Additions", "ModelLibrary"]

_ARCHIVES = (".empanada", ".zip")
_MANIFESTS = (".yaml", ".yml")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Additions:
    """What the owner says of a model besides its source; None leaves it as the source has it."""

    name: str | None = None
    kind: str | None = None
    voxel_size_nm: float | None = None
    licence: str | None = None
    activation: str | None = None
    sha256: str | None = None
    """What the file at the source (the archive, where it is one) must be."""
    allow_code: bool = False
    """Whether a file that holds code may be registered."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A model that lies in a scratch folder."""

    spec: ModelSpec
    weights: Path
    quantized: Path | None


class ModelLibrary:
    """The models folder, as its owner sees it."""

    def __init__(self, models_dir: Path) -> None:
        """Take the folder; it is made when the first model is added."""
        self.models_dir = models_dir

    def find(self, name: str) -> ModelSpec:
        """Return a model by its name; see `find_model`."""
        return find_model(name, self.models_dir)

    def digest(self, spec: ModelSpec) -> str:
        """Return the SHA-256 of the weights of a model that is in the folder."""
        return spec.sha256 or file_digest(self.models_dir / spec.file_name)

    def add(self, source: str, additions: Additions | None = None) -> ModelSpec:
        """Register a model from a file, a URL, a description or an `.empanada` archive.

        The file of a published model, under its own name, is put where that model's download would
        be. InvalidInputError where it holds code and that is not allowed; ConflictError
        (NAME_TAKEN); FormatError and ResourceError as reading and fetching say.
        """
        wanted = additions or Additions()
        self.models_dir.mkdir(parents=True, exist_ok=True)
        try:
            # In the same folder, so that moving a file into place is one step.
            with tempfile.TemporaryDirectory(dir=self.models_dir, prefix=".adding-") as scratch:
                candidate = self._candidate(source, wanted, Path(scratch))
                return self._install(candidate, wanted)
        except OSError as error:
            raise ResourceError(
                f"{source} could not be added to {self.models_dir} ({error}); make room, or check "
                "who may write there, and try again.",
                ErrorKind.DISK_FULL,
            ) from error

    def export(self, name: str, path: Path) -> Path:
        """Write a model as an `.empanada` archive, whole or not at all; return where.

        A plain network is turned into TorchScript for it, which loads torch. ConflictError where
        something is there already; NotFoundError for an unknown model.
        """
        spec = self.find(name)
        place = path if path.suffix in _ARCHIVES else path.with_name(f"{path.name}.empanada")
        if place.exists():
            raise ConflictError(
                f"{place} exists; name another file, or remove it.", ErrorKind.NAME_TAKEN
            )
        if spec.origin is not Origin.PACKAGE and not spec.is_present(self.models_dir):
            raise ResourceError(
                f"The weights of {spec.name} are not there yet; segment with it once, or add its "
                f"file {spec.file_name}, and export it then.",
                ErrorKind.MODEL_UNAVAILABLE,
            )
        with tempfile.TemporaryDirectory(prefix="export-") as scratch:
            exported, files = self._exported(spec, Path(scratch))
            write_archive(place, f"{spec.name}.yaml", render_manifest(exported), files)
        return place

    def remove(self, name: str) -> Path:
        """Move a model's files into a folder of `archived`; return that folder.

        `add` takes the description in it back. InvalidInputError for the embedded model and for
        published ones that are not here.
        """
        spec = self.find(name)
        files = [self.models_dir / f for f in self._names(spec) if (self.models_dir / f).is_file()]
        if spec.origin is Origin.PACKAGE or not spec.is_present(self.models_dir):
            reason = "came with the program" if spec.origin is Origin.PACKAGE else "is not here"
            raise InvalidInputError(
                f"The model {spec.name} {reason}, so it cannot be removed.",
                ErrorKind.INVALID_PARAMETER,
            )
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        folder = self.models_dir / _ARCHIVED / f"{spec.name}-{stamp}"
        folder.mkdir(parents=True)
        # The description goes first: without it the model is not registered any more.
        for file in sorted(files, key=lambda file: file.suffix != ".yaml"):
            file.replace(folder / file.name)
        if not (folder / f"{spec.name}.yaml").exists():
            (folder / f"{spec.name}.yaml").write_text(render_manifest(self._pinned(spec, folder)))
        return folder

    def _names(self, spec: ModelSpec) -> list[str]:
        weights = [name for name in (spec.file_name, spec.quantized_file) if name is not None]
        return [f"{spec.name}.yaml", *weights, *(f"{name}.sha256" for name in weights)]

    def _pinned(self, spec: ModelSpec, folder: Path) -> ModelSpec:
        """Return a model with the digests of the files that are there."""
        quantized = folder / (spec.quantized_file or "")
        has_quantized = spec.quantized_file is not None and quantized.is_file()
        return replace(
            spec,
            sha256=file_digest(folder / spec.file_name),
            quantized_file=spec.quantized_file if has_quantized else None,
            quantized_sha256=file_digest(quantized) if has_quantized else None,
        )

    def _exported(self, spec: ModelSpec, scratch: Path) -> tuple[ModelSpec, dict[str, Path]]:
        """Return the model as it is in an archive, and its files by their names there."""
        if spec.file_name.endswith(".pt"):
            # torch costs seconds, and only this needs it.
            from segmentation_backend.models.weights import write_torchscript

            target = scratch / f"{spec.name}.pth"
            write_torchscript(spec, self.models_dir, target)
            sha256 = file_digest(target)
            return replace(spec, file_name=target.name, sha256=sha256), {target.name: target}
        pinned = self._pinned(spec, self.models_dir)
        names = [name for name in (pinned.file_name, pinned.quantized_file) if name is not None]
        return pinned, {name: self.models_dir / name for name in names}

    def _candidate(self, source: str, wanted: Additions, scratch: Path) -> _Candidate:
        """Bring a source's files into a scratch folder, checked, and read its description."""
        file = self._brought(source, wanted.sha256, scratch)
        if file.suffix in _ARCHIVES:
            folder = scratch / "unpacked"
            folder.mkdir()
            unpacked = unpack(file, folder)
            return _described(unpacked.manifest, {w.name: w for w in unpacked.weights})
        if file.suffix in _MANIFESTS:
            beside = Path(source).parent if "://" not in source else None
            return _described(file, _weights_of(file, beside, scratch))
        spec = ModelSpec(
            name=file.stem,
            description=f"Added from {file.name}",
            licence="unknown",
            voxel_size_nm=10.0,
            origin=Origin.FILE,
            file_name=file.name,
            padding_factor=128 if file.suffix == ".pth" else 16,
            kind=ModelKind.AFFINITY if file.suffix == ".onnx" else ModelKind.PANOPTIC,
        )
        return _Candidate(spec, file, None)

    def _brought(self, source: str, sha256: str | None, scratch: Path) -> Path:
        """Return a copy of the source in the scratch folder."""
        name = file_name_of(source)
        if not name.endswith((*WEIGHT_SUFFIXES, *_ARCHIVES, *_MANIFESTS)):
            raise InvalidInputError(
                f"{source} is no model: give a TorchScript file (.pth), a network of `mitoglance "
                "train` (.pt), an ONNX graph (.onnx), a description (.yaml) or an archive "
                "(.empanada).",
                ErrorKind.INVALID_PARAMETER,
            )
        copy = scratch / name
        if "://" in source:
            fetch(source, copy, sha256)
            return copy
        path = Path(source).expanduser()
        if not path.is_file():
            raise NotFoundError(
                f"There is no file {source}; check the path.", ErrorKind.PATH_NOT_FOUND
            )
        shutil.copyfile(path, copy)
        check_digest(source, file_digest(copy), sha256)
        return copy

    def _install(self, candidate: _Candidate, wanted: Additions) -> ModelSpec:
        published = self._published(candidate.spec, wanted)
        spec = published or _with_additions(candidate.spec, wanted)
        self._check_free(spec)
        files = [(candidate.weights, spec.file_name)]
        if candidate.quantized is not None and spec.quantized_file is not None:
            files.append((candidate.quantized, spec.quantized_file))
        digests = []
        for file, name in files:
            _check_code(file, name, wanted.allow_code)
            digests.append(file_digest(file))
        said = (candidate.spec.sha256, candidate.spec.quantized_sha256)
        for expected, found in zip(said, digests, strict=False):
            check_digest(candidate.weights.name, found, expected)
        has_quantized = len(files) > 1
        spec = replace(
            spec,
            sha256=digests[0],
            quantized_file=spec.quantized_file if has_quantized else None,
            quantized_sha256=digests[1] if has_quantized else None,
        )
        for (file, name), digest in zip(files, digests, strict=True):
            (self.models_dir / f"{name}.sha256").write_text(f"{digest}  {name}\n")
            file.replace(self.models_dir / name)
        if published is None:
            part = candidate.weights.parent / "description.part"
            part.write_text(render_manifest(spec))
            part.replace(self.models_dir / f"{spec.name}.yaml")
        return self.find(spec.name)

    def _published(self, spec: ModelSpec, wanted: Additions) -> ModelSpec | None:
        """Return the published model that is being provided by hand, or None."""
        name = wanted.name or spec.name
        known = {p.name: p for p in PUBLISHED if p.origin is Origin.DOWNLOAD}
        return known.get(name)

    def _check_free(self, spec: ModelSpec) -> None:
        files = [self.models_dir / name for name in self._names(spec)[:2]]
        names = {p.name for p in PUBLISHED if p.origin is Origin.PACKAGE}
        if spec.name in names or any(file.exists() for file in files):
            raise ConflictError(
                f"There is a model {spec.name} already; choose another name, or remove that one "
                "first.",
                ErrorKind.NAME_TAKEN,
            )


def _described(manifest: Path, found: dict[str, Path]) -> _Candidate:
    """Return the model of a description whose files lie in `found`, by their names."""
    with manifest.open("rb") as file:
        text = file.read(LONGEST_MANIFEST + 1).decode(errors="replace")
    parsed = parse_manifest(text, manifest.stem)
    weights = found.get(parsed.spec.file_name)
    if weights is None:
        raise FormatError(
            f"The description {manifest.name} names the weights {parsed.spec.file_name}, but there "
            f"are {', '.join(found) or 'none'}; correct its key 'model'.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    return _Candidate(parsed.spec, weights, found.get(parsed.spec.quantized_file or ""))


def _weights_of(manifest: Path, beside: Path | None, scratch: Path) -> dict[str, Path]:
    """Return the files that a description names, fetched or copied from beside it."""
    parsed = parse_manifest(manifest.read_text(errors="replace"), manifest.stem)
    found = {}
    for address in (parsed.model, parsed.model_quantized):
        if address is None:
            continue
        copy = scratch / file_name_of(address)
        if "://" in address:
            fetch(address, copy)
        elif beside is not None and (beside / address).is_file():
            shutil.copyfile(beside / address, copy)
        else:
            continue
        found[copy.name] = copy
    return found


def _with_additions(spec: ModelSpec, wanted: Additions) -> ModelSpec:
    """Return a model as its owner wants it, its files named after it."""
    name = wanted.name or spec.name
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} cannot be a model's name; use letters, digits, '.', '_' and '-', at most "
            "100, the first a letter or digit.",
            ErrorKind.INVALID_NAME,
        )
    kinds = [kind.value for kind in ModelKind]
    if wanted.kind is not None and wanted.kind not in kinds:
        raise InvalidInputError(
            f"kind must be {' or '.join(kinds)}, not {wanted.kind!r}.", ErrorKind.INVALID_PARAMETER
        )
    if wanted.activation not in (None, *ACTIVATIONS):
        raise InvalidInputError(
            f"activation must be {' or '.join(ACTIVATIONS)}, not {wanted.activation!r}.",
            ErrorKind.INVALID_PARAMETER,
        )
    if wanted.voxel_size_nm is not None and not 0 < wanted.voxel_size_nm < 1e6:
        raise InvalidInputError(
            f"voxel_size_nm must be a number above 0, not {wanted.voxel_size_nm}.",
            ErrorKind.INVALID_PARAMETER,
        )
    quantized = spec.quantized_file
    return replace(
        spec,
        name=name,
        file_name=name + Path(spec.file_name).suffix,
        quantized_file=None if quantized is None else f"{name}_quantized{Path(quantized).suffix}",
        kind=spec.kind if wanted.kind is None else ModelKind(wanted.kind),
        voxel_size_nm=wanted.voxel_size_nm or spec.voxel_size_nm,
        licence=wanted.licence or spec.licence,
        activation=wanted.activation or spec.activation,
    )


def _check_code(file: Path, name: str, allow_code: bool) -> None:
    """Refuse files that are not what their name says, and code that was not allowed."""
    has_code = holds_code(file)
    if file.suffix == ".pt" and has_code:
        raise FormatError(
            f"{name} holds code, which a network written by `mitoglance train` does not; a "
            "TorchScript file is named .pth.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    if file.suffix == ".pth" and not has_code:
        raise FormatError(
            f"{name} holds weights without a network: it is not TorchScript. Export it with "
            "torch.jit.script and add that.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    if has_code and not allow_code:
        raise InvalidInputError(
            f"{name} is TorchScript, that is code which will run on this server. Add it with "
            "--allow-code if you trust who made it.",
            ErrorKind.INVALID_PARAMETER,
        )
