"""Models are found by name, the best one there is the default, and torch is not needed."""

import json
import subprocess
import sys

import pytest

from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.models.registry import Origin, default_model, find_model, list_models


def test_the_embedded_model_and_both_mitonets_are_listed(tmp_path):
    models = {spec.name: spec for spec in list_models(tmp_path)}
    assert set(models) == {"mitoglance_small", "MitoNet_v1", "MitoNet_v1_mini"}
    assert models["mitoglance_small"].is_present(tmp_path)
    assert not models["MitoNet_v1"].is_present(tmp_path)
    assert models["MitoNet_v1"].padding_factor == 16
    assert models["MitoNet_v1_mini"].padding_factor == 128
    assert models["MitoNet_v1"].url.startswith("https://")
    assert models["MitoNet_v1"].norms == (0.57571, 0.12765)


def test_the_default_is_mitonet_then_mini_then_the_embedded_one(tmp_path):
    assert default_model(tmp_path).name == "mitoglance_small"
    (tmp_path / "MitoNet_v1_mini.pth").touch()
    assert default_model(tmp_path).name == "MitoNet_v1_mini"
    (tmp_path / "MitoNet_v1.pth").touch()
    assert default_model(tmp_path).name == "MitoNet_v1"


def test_other_files_in_the_folder_are_models(tmp_path):
    for name in ("mine.pth", "yours.pt", "MitoNet_v1.pth", "notes.txt", "mine.pth.sha256"):
        (tmp_path / name).touch()
    assert [spec.name for spec in list_models(tmp_path)[3:]] == ["mine", "yours"]
    spec = find_model("mine", tmp_path)
    assert spec.origin is Origin.FILE
    assert spec.is_torchscript
    assert not find_model("yours.pt", tmp_path).is_torchscript


def test_a_folder_that_does_not_exist_has_the_known_models(tmp_path):
    assert len(list_models(tmp_path / "absent")) == 3


def test_a_path_is_accepted_only_in_the_models_folder(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    inside, outside = models / "mine.pth", tmp_path / "other.pth"
    inside.touch()
    outside.touch()
    assert find_model(str(inside), models).name == "mine"
    for path in (outside, models / ".." / "other.pth", models / "absent.pth"):
        with pytest.raises(InvalidInputError, match="models folder"):
            find_model(str(path), models)


def test_a_link_out_of_the_models_folder_is_refused(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    (tmp_path / "other.pth").touch()
    (models / "link.pth").symlink_to(tmp_path / "other.pth")
    with pytest.raises(InvalidInputError):
        find_model(str(models / "link.pth"), models)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(NotFoundError, match=r"nonet.*mitoglance_small, MitoNet_v1") as caught:
        find_model("nonet", tmp_path)
    assert caught.value.kind is ErrorKind.MODEL_NOT_FOUND


def test_models_are_json(tmp_path):
    value = json.loads(json.dumps([spec.to_json() for spec in list_models(tmp_path)]))
    assert value[0]["class_names"] == {"1": "mitochondrion"}
    assert value[0]["licence"] == "CC BY 4.0"


def test_the_registry_does_not_import_torch():
    code = (
        "import sys, segmentation_backend.models.registry;"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
