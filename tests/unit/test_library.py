"""Models are added with what is known of them, or not at all; removing keeps the files."""

import hashlib
import json
import zipfile

import pytest
import torch
from model_server import model_server
from scripted_networks import save_affinity, save_panoptic

from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    ResourceError,
    SegmentationError,
)
from segmentation_backend.models import weights
from segmentation_backend.models.library import Additions, ModelLibrary
from segmentation_backend.models.mitonet import MitoNet, MitoNetConfig
from segmentation_backend.models.registry import ModelKind, find_model, list_models

TRUSTED = Additions(allow_code=True)


@pytest.fixture
def library(tmp_path):
    return ModelLibrary(tmp_path / "models")


@pytest.fixture
def scripted(tmp_path):
    save_panoptic(tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def archive(path, manifest, members):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mine.yaml", manifest)
        for name, source in members.items():
            file.write(source, name)
    return str(path)


def left(library):
    """Return what lies in the models folder, scratch folders included."""
    return (
        sorted(p.name for p in library.models_dir.iterdir()) if library.models_dir.exists() else []
    )


def test_a_torchscript_file_is_added_and_runs(library, scripted):
    spec = library.add(str(scripted), TRUSTED)
    assert (spec.name, spec.kind, spec.padding_factor) == ("mine", ModelKind.PANOPTIC, 128)
    assert spec.sha256 == hashlib.sha256(scripted.read_bytes()).hexdigest()
    assert left(library) == ["mine.pth", "mine.pth.sha256", "mine.yaml"]
    assert scripted.exists()
    network = weights.load(find_model("mine", library.models_dir), library.models_dir)
    assert set(network(torch.zeros(1, 1, 64, 64))) == {"sem_logits", "ctr_hmp", "offsets"}


def test_code_is_added_only_where_it_is_allowed(library, scripted):
    with pytest.raises(InvalidInputError, match=r"code .* --allow-code"):
        library.add(str(scripted))
    assert left(library) == []


def test_an_archive_brings_classes_norms_and_the_quantised_variant(library, scripted, tmp_path):
    save_panoptic(tmp_path / "q.pth", seed=1)
    manifest = (
        "model: /data/someone/.empanada/m.pth\nmodel_quantized: q.pth\npadding_factor: 32\n"
        "class_names: {1: mito, 2: er}\nlabels: [1, 2]\nthing_list: [1]\n"
        "norms: {mean: 0.4, std: 0.2}\ndescription: two classes\n"
    )
    path = archive(
        tmp_path / "a.empanada", manifest, {"m.pth": scripted, "q.pth": tmp_path / "q.pth"}
    )
    spec = library.add(path, Additions(name="two", voxel_size_nm=8, allow_code=True))
    assert spec == find_model("two", library.models_dir)
    assert (spec.labels, spec.thing_list, spec.norms) == ((1, 2), (1,), (0.4, 0.2))
    assert (spec.file_name, spec.quantized_file) == ("two.pth", "two_quantized.pth")
    assert (spec.voxel_size_nm, spec.padding_factor) == (8.0, 32)
    quantised = spec.quantized()
    assert quantised.sha256 == hashlib.sha256((tmp_path / "q.pth").read_bytes()).hexdigest()
    weights.load(quantised, library.models_dir)


def test_a_quantised_variant_that_is_not_there_is_not_promised(library, scripted, tmp_path):
    manifest = "model: m.pth\nmodel_quantized: q.pth\n"
    spec = library.add(archive(tmp_path / "a.empanada", manifest, {"m.pth": scripted}), TRUSTED)
    assert spec.quantized_file is None


def test_an_archive_whose_hash_is_not_what_its_description_says_is_refused(
    library, scripted, tmp_path
):
    manifest = f"model: m.pth\nmitoglance: {{sha256: {'f' * 64}}}\n"
    path = archive(tmp_path / "a.empanada", manifest, {"m.pth": scripted})
    with pytest.raises(FormatError) as caught:
        library.add(path, TRUSTED)
    assert caught.value.kind is ErrorKind.WEIGHTS_CHECKSUM_MISMATCH
    assert left(library) == []


def test_an_archive_without_the_weights_it_names_is_refused(library, scripted, tmp_path):
    path = archive(tmp_path / "a.empanada", "model: other.pth\n", {"m.pth": scripted})
    with pytest.raises(FormatError, match=r"other\.pth.*m\.pth"):
        library.add(path, TRUSTED)
    assert left(library) == []


def test_a_hostile_archive_leaves_nothing(library, scripted, tmp_path):
    path = archive(tmp_path / "a.empanada", "model: m.pth\n", {"../../m.pth": scripted})
    with pytest.raises(FormatError, match="not plain"):
        library.add(path, TRUSTED)
    assert left(library) == []
    assert not (tmp_path.parent / "m.pth").exists()


def test_a_description_finds_the_weights_beside_it(library, scripted, tmp_path):
    (tmp_path / "named.yaml").write_text("model: mine.pth\ndescription: beside\n")
    assert library.add(str(tmp_path / "named.yaml"), TRUSTED).description == "beside"
    assert find_model("named", library.models_dir).file_name == "named.pth"


def test_a_url_is_fetched_pinned_and_checked(library, scripted):
    digest = hashlib.sha256(scripted.read_bytes()).hexdigest()
    with model_server() as server:
        server.files["mine.pth"] = scripted.read_bytes()
        with pytest.raises(FormatError) as caught:
            library.add(server.url("mine.pth"), Additions(sha256="0" * 64, allow_code=True))
        assert caught.value.kind is ErrorKind.WEIGHTS_CHECKSUM_MISMATCH
        server.promised = 10**6
        with pytest.raises(ResourceError):
            library.add(server.url("mine.pth"), TRUSTED)
        assert left(library) == []
        server.promised = None
        library.add(server.url("mine.pth?download=1"), Additions(sha256=digest, allow_code=True))
        server.files["far.yaml"] = f"model: {server.url('mine.pth')}\n".encode()
        assert library.add(server.url("far.yaml"), TRUSTED).sha256 == digest
    changed = library.models_dir / "mine.pth"
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(FormatError, match="recorded"):
        weights.load(library.find("mine"), library.models_dir)


def test_a_published_models_file_can_be_put_there_by_hand(library, scripted):
    spec = library.add(str(scripted), Additions(name="MitoNet_v1", allow_code=True))
    assert (spec.name, spec.padding_factor) == ("MitoNet_v1", 16)
    assert left(library) == ["MitoNet_v1.pth", "MitoNet_v1.pth.sha256"]
    assert weights.load(spec, library.models_dir) is not None
    with pytest.raises(ConflictError):
        library.add(str(scripted), Additions(name="MitoNet_v1", allow_code=True))


@pytest.mark.parametrize(
    ("additions", "error"),
    [
        ({"name": "../evil"}, InvalidInputError),
        ({"name": ".hidden"}, InvalidInputError),
        ({"name": "mitoglance_small"}, ConflictError),
        ({"kind": "sam"}, InvalidInputError),
        ({"voxel_size_nm": -1.0}, InvalidInputError),
        ({"activation": "relu"}, InvalidInputError),
    ],
)
def test_wrong_additions_are_refused(additions, error, library, scripted):
    with pytest.raises(error):
        library.add(str(scripted), Additions(**additions, allow_code=True))
    assert left(library) == []


def test_a_taken_name_is_refused_and_the_first_model_stays(library, scripted, tmp_path):
    first = library.add(str(scripted), TRUSTED)
    save_panoptic(tmp_path / "other.pth", seed=5)
    with pytest.raises(ConflictError) as caught:
        library.add(str(tmp_path / "other.pth"), Additions(name="mine", allow_code=True))
    assert caught.value.kind is ErrorKind.NAME_TAKEN
    assert library.find("mine") == first


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.txt", b"x", "is no model"),
        ("state.pth", None, "not TorchScript"),
        ("state.pt", b"\x80\x02 any pickle", "holds code"),
        ("broken.empanada", b"PK", "not a whole zip"),
    ],
)
def test_files_that_are_no_models_are_refused(name, content, reason, library, tmp_path):
    if content is None:
        torch.save({"a": torch.zeros(2)}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SegmentationError, match=reason):
        library.add(str(tmp_path / name), TRUSTED)
    assert left(library) == []


def test_a_missing_file_is_named(library):
    with pytest.raises(NotFoundError, match=r"absent\.pth"):
        library.add("absent.pth", TRUSTED)


def test_a_state_dict_needs_no_leave(library, tmp_path):
    weights.write_network(tmp_path / "own.pt", MitoNet(MitoNetConfig()), MitoNetConfig())
    spec = library.add(str(tmp_path / "own.pt"))
    assert not spec.is_torchscript
    weights.load(spec, library.models_dir)


def test_a_removed_model_is_kept_and_comes_back_the_same(library, scripted):
    before = library.add(str(scripted), Additions(voxel_size_nm=7, allow_code=True))
    folder = library.remove("mine")
    assert "mine" not in [spec.name for spec in list_models(library.models_dir)]
    assert folder.parent == library.models_dir / "archived"
    with pytest.raises(NotFoundError):
        library.remove("mine")
    assert library.add(str(folder / "mine.yaml"), TRUSTED) == before


def test_a_bare_file_that_is_removed_comes_back_too(library, scripted):
    library.models_dir.mkdir()
    (library.models_dir / "bare.pth").write_bytes(scripted.read_bytes())
    folder = library.remove("bare")
    assert left(library) == ["archived"]
    assert library.add(str(folder / "bare.yaml"), TRUSTED).name == "bare"


@pytest.mark.parametrize("name", ["mitoglance_small", "MitoNet_v1"])
def test_built_in_models_cannot_be_removed(name, library):
    with pytest.raises(InvalidInputError, match="cannot be removed"):
        library.remove(name)


def test_the_embedded_model_is_exported_as_torchscript_and_imported_again(library, tmp_path):
    place = library.export("mitoglance_small", tmp_path / "out")
    assert place == tmp_path / "out.empanada"
    with zipfile.ZipFile(place) as file:
        assert sorted(file.namelist()) == ["mitoglance_small.pth", "mitoglance_small.yaml"]
    spec = library.add(str(place), Additions(name="copy", allow_code=True))
    assert (spec.voxel_size_nm, spec.licence) == (10.0, "CC BY 4.0")
    network = weights.load(spec, library.models_dir)
    embedded = weights.load(library.find("mitoglance_small"), library.models_dir)
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        for name, value in embedded(x, 2, False).items():
            torch.testing.assert_close(network(x, 2, False)[name], value)
    with pytest.raises(ConflictError):
        library.export("copy", place)


def test_a_registered_model_is_exported_with_its_quantised_variant(library, scripted, tmp_path):
    manifest = "model: m.pth\nmodel_quantized: q.pth\n"
    path = archive(tmp_path / "a.empanada", manifest, {"m.pth": scripted, "q.pth": scripted})
    library.add(path, TRUSTED)
    place = library.export("mine", tmp_path / "b.empanada")
    with zipfile.ZipFile(place) as file:
        assert sorted(file.namelist()) == ["mine.pth", "mine.yaml", "mine_quantized.pth"]
    spec = library.add(str(place), Additions(name="again", allow_code=True))
    assert spec.quantized_file == "again_quantized.pth"


def test_a_model_that_was_never_fetched_cannot_be_exported(library, tmp_path):
    with pytest.raises(ResourceError, match="not there yet"):
        library.export("MitoNet_v1", tmp_path / "a.empanada")
    assert not (tmp_path / "a.empanada").exists()


def test_a_3d_network_is_added_with_its_kind_and_activation(library, tmp_path):
    save_affinity(tmp_path / "affs.pth", logits=True)
    spec = library.add(
        str(tmp_path / "affs.pth"),
        Additions(kind="affinity3d", activation="sigmoid", allow_code=True),
    )
    assert (spec.kind, spec.activation) == (ModelKind.AFFINITY, "sigmoid")
    assert json.loads(json.dumps(spec.to_json()))["kind"] == "affinity3d"


def test_nothing_is_imported_but_what_is_needed(library, scripted):
    """Adding, listing and removing never load torch: the code in a file does not run."""
    import subprocess
    import sys

    code = (
        "import sys;from segmentation_backend.models.library import *;from pathlib import Path;"
        f"l=ModelLibrary(Path({str(library.models_dir)!r}));"
        f"l.add({str(scripted)!r}, Additions(allow_code=True)); l.export('mine', Path('x'));"
        "l.remove('mine'); sys.exit('torch' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=scripted.parent, env=_environment()
    )


def _environment():
    import os
    from pathlib import Path

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
