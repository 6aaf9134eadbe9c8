"""Descriptions of models as empanada writes them: read with what is missing, refused when wrong."""

import dataclasses

import pytest
import yaml

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.models.manifests import parse_manifest, render_manifest
from segmentation_backend.models.specs import ModelKind

PUBLISHED = """
model: https://zenodo.org/record/6861565/files/MitoNet_v1.pth?download=1
model_quantized: "C:\\\\Users\\\\me\\\\.empanada\\\\MitoNet_v1_quantized.pth"
class_names: {1: mito}
labels: [1]
thing_list: [1]
padding_factor: 16
norms: {mean: 0.57571, std: 0.12765}
description: A generalist.
FINETUNE: {criterion: PanopticLoss}
"""


def test_a_description_is_read_whole():
    manifest = parse_manifest(PUBLISHED, "twin")
    spec = manifest.spec
    assert (spec.name, spec.file_name) == ("twin", "MitoNet_v1.pth")
    assert spec.quantized_file == "MitoNet_v1_quantized.pth"
    assert spec.url == manifest.model
    assert spec.quantized_url is None
    assert spec.class_names == {1: "mito"}
    assert (spec.padding_factor, spec.norms) == (16, (0.57571, 0.12765))
    assert spec.kind is ModelKind.PANOPTIC
    assert not spec.has_classes


def test_several_classes_keep_their_order_and_things():
    text = "model: a.pth\nclass_names: {3: nucleus, 1: mito, 7: er}\nlabels: [3, 1, 7]\n"
    spec = parse_manifest(text + "thing_list: [1]", "a").spec
    assert (spec.labels, spec.thing_list) == ((3, 1, 7), (1,))
    assert spec.class_names == {3: "nucleus", 1: "mito", 7: "er"}
    assert spec.has_classes
    listed = parse_manifest("model: a.pth\nclass_names: [mito, er]\nlabels: [1, 2]", "a").spec
    assert listed.class_names == {1: "mito", 2: "er"}
    assert listed.thing_list == (1, 2)
    assert parse_manifest(text + "thing_list: []", "a").spec.thing_list == ()


def test_what_is_missing_has_a_safe_default():
    spec = parse_manifest("model: a.pth", "a").spec
    assert spec.padding_factor == 128
    assert (spec.labels, spec.thing_list) == ((1,), (1,))
    assert spec.norms == (0.57571, 0.12765)
    assert (spec.quantized_file, spec.sha256) == (None, None)
    assert spec.licence == "unknown"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "list of keys"),
        ("- 1", "list of keys"),
        ("model: [", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("x: " + "a" * 70000, "longer"),
        ("padding_factor: 16", "no key 'model'"),
        ("model: null", "no key 'model'"),
        ("model: 3", "must be a text"),
        ("model: a.exe", "does not end with"),
        ("model: a.pth/..", "does not end with"),
        ("{model: a.pth, model_quantized: b.sh}", "does not end with"),
        ("{model: a.pth, class_names: {0: background}}", "class_names"),
        ("{model: a.pth, class_names: {one: mito}}", "class_names"),
        ("{model: a.pth, class_names: {1: 2}}", "class_names"),
        ("{model: a.pth, class_names: [a, b], labels: [1]}", "class_names"),
        ("{model: a.pth, labels: []}", "labels"),
        ("{model: a.pth, labels: [1, 1]}", "labels"),
        ("{model: a.pth, labels: [true]}", "labels"),
        ("{model: a.pth, labels: [300]}", "labels"),
        ("{model: a.pth, thing_list: [2]}", "thing_list"),
        ("{model: a.pth, padding_factor: 0}", "padding_factor"),
        ("{model: a.pth, padding_factor: 1e9}", "padding_factor"),
        ("{model: a.pth, norms: 3}", "norms"),
        ("{model: a.pth, norms: {mean: 0.5}}", "norms"),
        ("{model: a.pth, norms: {mean: 0.5, std: 0}}", "norms"),
        ("{model: a.pth, norms: {mean: .nan, std: .nan}}", "norms"),
        ("{model: a.pth, mitoglance: 3}", "mitoglance"),
        ("{model: a.pth, mitoglance: {kind: sam}}", "kind"),
        ("{model: a.pth, mitoglance: {sha256: abc}}", "sha256"),
        ("{model: a.pth, mitoglance: {voxel_size_nm: -1}}", "voxel_size_nm"),
        ("{model: a.pth, mitoglance: {activation: relu}}", "activation"),
        ("{model: a.pth, mitoglance: {parameters: 3}}", "parameters"),
        ("{model: a.pth, mitoglance: {parameters: []}}", "parameters"),
        ("{model: a.pth, mitoglance: {parameters: {1: 2}}}", "parameters"),
        ("{model: a.pth, mitoglance: {parameters: {min_size: large}}}", "parameters"),
        ("{model: a.pth, mitoglance: {parameters: {min_size: .nan}}}", "parameters"),
    ],
)
def test_a_wrong_description_is_refused_with_the_key(text, reason):
    with pytest.raises(FormatError, match=reason) as caught:
        parse_manifest(text, "mine")
    assert caught.value.kind is ErrorKind.UNSUPPORTED_FORMAT
    assert "mine" in caught.value.message


def test_a_written_description_reads_as_the_same_model():
    text = (
        "model: a.pth\nmodel_quantized: b.pth\nclass_names: {3: nucleus, 1: mito}\nlabels: [3, 1]"
    )
    ours = (
        "{kind: affinity3d, voxel_size_nm: 16, parameters: {min_size: 90, fine_boundaries: true}}"
    )
    spec = parse_manifest(f"{text}\nmitoglance: {ours}", "a").spec
    assert spec.parameters == {"min_size": 90, "fine_boundaries": True}
    spec = dataclasses.replace(spec, sha256="ab" * 32, quantized_sha256="cd" * 32)
    assert parse_manifest(render_manifest(spec), "a").spec == spec


def test_a_written_description_has_the_keys_that_empanada_reads():
    document = yaml.safe_load(render_manifest(parse_manifest(PUBLISHED, "twin").spec))
    wanted = {"model", "model_quantized", "class_names", "labels", "thing_list", "padding_factor"}
    assert wanted | {"norms", "description", "FINETUNE"} <= set(document)
    assert document["norms"] == {"mean": 0.57571, "std": 0.12765}
    assert document["FINETUNE"]["engine_params"]["thing_list"] == [1]
    assert document["FINETUNE"]["dataset_class"] == "SingleClassInstanceDataset"
    several = parse_manifest("{model: a.pth, labels: [1, 2]}", "a").spec
    tuning = yaml.safe_load(render_manifest(several))["FINETUNE"]
    assert tuning["dataset_params"]["labels"] == [1, 2]
