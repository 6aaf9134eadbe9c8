"""Models are found by name, the best one there is the default, and torch is not needed."""

import dataclasses
import json
import subprocess
import sys

import pytest

from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.models import published, registry
from segmentation_backend.models.manifests import render_manifest
from segmentation_backend.models.registry import (
    ModelKind,
    Origin,
    default_model,
    find_model,
    list_models,
)

PUBLISHED = ["mitoglance_small", "mitoglance_research", "MitoNet_v1", "MitoNet_v1_mini"]
PUBLISHED += ["NucleoNet_base_v2", "DropNet_base_v1"]


def test_the_embedded_model_and_the_published_ones_are_listed(tmp_path):
    models = {spec.name: spec for spec in list_models(tmp_path)}
    assert list(models) == PUBLISHED
    assert models["mitoglance_small"].is_present(tmp_path)
    assert not models["MitoNet_v1"].is_present(tmp_path)
    factors = {name: spec.padding_factor for name, spec in models.items()}
    assert [factors[name] for name in PUBLISHED] == [16, 16, 16, 128, 512, 512]
    for name in PUBLISHED[2:]:
        assert models[name].url.startswith("https://zenodo.org/record")
        assert models[name].norms == (0.57571, 0.12765)
        assert models[name].kind is ModelKind.PANOPTIC


def test_only_the_research_model_is_for_research_only(tmp_path):
    marked = [spec.name for spec in list_models(tmp_path) if spec.is_research_only]
    assert marked == ["mitoglance_research"]
    spec = find_model("mitoglance_research", tmp_path)
    assert spec.to_json()["is_research_only"]
    assert spec.licence.startswith("research only, non-commercial")


def test_a_model_whose_file_was_deleted_from_the_package_is_not_listed(tmp_path, monkeypatch):
    gone = dataclasses.replace(find_model("mitoglance_research", tmp_path), file_name="gone.pt")
    monkeypatch.setattr(registry, "PUBLISHED", (published.EMBEDDED, gone))
    assert [spec.name for spec in list_models(tmp_path)] == ["mitoglance_small"]


def test_published_models_have_a_quantised_variant_under_its_own_address(tmp_path):
    spec = find_model("NucleoNet_base_v2", tmp_path)
    assert spec.class_names == {1: "nucleus"}
    quantised = spec.quantized()
    assert quantised.file_name == "NucleoNet_base_v2_quantized.pth"
    assert quantised.url.endswith("_panoptic_deeplab_pointrend_quantized.pth?download=1")
    assert (quantised.name, quantised.padding_factor) == (spec.name, spec.padding_factor)
    with pytest.raises(InvalidInputError, match="engine int8"):
        find_model("mitoglance_small", tmp_path).quantized()


def test_the_default_is_mitonet_then_mini_then_the_embedded_one(tmp_path):
    assert default_model(tmp_path).name == "mitoglance_small"
    (tmp_path / "MitoNet_v1_mini.pth").touch()
    assert default_model(tmp_path).name == "MitoNet_v1_mini"
    (tmp_path / "MitoNet_v1.pth").touch()
    assert default_model(tmp_path).name == "MitoNet_v1"


def test_other_files_in_the_folder_are_models(tmp_path):
    names = ("mine.pth", "yours.pt", "blocks.onnx", "MitoNet_v1.pth", "MitoNet_v1_quantized.pth")
    for name in (*names, "notes.txt", "mine.pth.sha256"):
        (tmp_path / name).touch()
    assert [spec.name for spec in list_models(tmp_path)[6:]] == ["blocks", "mine", "yours"]
    spec = find_model("mine", tmp_path)
    assert spec.origin is Origin.FILE
    assert spec.is_torchscript
    assert not find_model("yours.pt", tmp_path).is_torchscript
    assert find_model("blocks", tmp_path).kind is ModelKind.AFFINITY


def test_a_registered_model_is_what_its_description_says(tmp_path):
    spec = find_model("MitoNet_v1", tmp_path)
    (tmp_path / "twin.yaml").write_text(
        render_manifest(spec).replace("MitoNet_v1", "twin").replace(": 16", ": 32")
    )
    assert [m.name for m in list_models(tmp_path)] == PUBLISHED
    for name in ("twin.pth", "twin_quantized.pth"):
        (tmp_path / name).touch()
    (found,) = list_models(tmp_path)[6:]
    assert (found.name, found.padding_factor, found.file_name) == ("twin", 32, "twin.pth")
    assert found.quantized_file == "twin_quantized.pth"


@pytest.mark.parametrize("text", ["model: [", "model: mine.exe", "\xff", "colour: red"])
def test_a_damaged_description_hides_no_other_model(text, tmp_path, caplog):
    (tmp_path / "mine.yaml").write_bytes(text.encode("latin-1"))
    (tmp_path / "mine.pth").touch()
    assert [spec.name for spec in list_models(tmp_path)[6:]] == ["mine"]
    assert "mine" in caplog.text


def test_a_description_cannot_stand_for_a_published_model(tmp_path):
    (tmp_path / "evil.yaml").write_text("model: MitoNet_v1.pth\nclass_names: {1: gold}\n")
    (tmp_path / "MitoNet_v1.pth").touch()
    assert [spec.name for spec in list_models(tmp_path)] == PUBLISHED


def test_a_folder_that_does_not_exist_has_the_known_models(tmp_path):
    assert len(list_models(tmp_path / "absent")) == 6


def test_a_path_is_accepted_only_in_the_models_folder(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    inside, outside = models / "mine.pth", tmp_path / "other.pth"
    inside.touch()
    outside.touch()
    assert find_model(str(inside), models).name == "mine"
    for path in (outside, models / ".." / "other.pth", models / "absent.pth"):
        with pytest.raises(InvalidInputError, match=r"models folder .* models add"):
            find_model(str(path), models)


def test_a_link_out_of_the_models_folder_is_refused(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    (tmp_path / "other.pth").touch()
    (models / "link.pth").symlink_to(tmp_path / "other.pth")
    with pytest.raises(InvalidInputError):
        find_model(str(models / "link.pth"), models)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(
        NotFoundError, match=r"nonet.*mitoglance_small, mitoglance_research, MitoNet_v1"
    ) as caught:
        find_model("nonet", tmp_path)
    assert caught.value.kind is ErrorKind.MODEL_NOT_FOUND


def test_models_are_json(tmp_path):
    value = json.loads(json.dumps([spec.to_json() for spec in list_models(tmp_path)]))
    assert value[0]["class_names"] == {"1": "mitochondrion"}
    assert value[0]["licence"] == "CC BY 4.0"
    assert (value[0]["kind"], value[0]["labels"], value[0]["thing_list"]) == (
        "panoptic2d",
        [1],
        [1],
    )


def test_the_registry_does_not_import_torch():
    code = (
        "import sys, segmentation_backend.models.registry, segmentation_backend.models.library,"
        "segmentation_backend.models.networks;"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
