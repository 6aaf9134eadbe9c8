"""Jobs run any registered network by the engine that is asked for, and record what ran."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from scripted_networks import Bright, save_affinity, save_panoptic

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.inference.exact import (
    ExactModel,
    ExactParameters,
    segment_orthoplane_exact,
    segment_slice_exact,
    segment_stack_exact,
)
from segmentation_backend.labels import Operation
from segmentation_backend.models import engines
from segmentation_backend.workspace import EditContext, GreyRange, Workspace, networks
from segmentation_backend.workspace.stacks import KeptStacks, stack_in

SHAPE = (6, 64, 64)
WHOLE = Roi((0, 0, 0), SHAPE)
SECTION = Roi((2, 0, 0), (1, 64, 64))
ANA = EditContext("ana")


def image() -> np.ndarray:
    """Return grey with two bright boxes and two dark ones."""
    em = np.full(SHAPE, 128, np.uint8)
    em[:, 8:24, 8:24] = em[:, 8:24, 40:56] = 230
    em[:, 36:56, 8:24] = em[:, 36:56, 40:56] = 20
    return em


def save(folder: Path, name: str, network: torch.nn.Module, yaml: str = "") -> None:
    torch.jit.script(network.eval()).save(str(folder / f"{name}.pth"))
    if yaml:
        (folder / f"{name}.yaml").write_text(f"model: {name}.pth\n{yaml}")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("networks")
    np.savez(folder / "cell.npz", em=image())
    opened = Workspace(folder / "data")
    opened.register("cell", str(folder / "cell.npz"), dataset="em", voxel_size=(10.0, 10.0, 10.0))
    save(opened.models_dir, "bright", Bright(), "padding_factor: 16\n")
    two = "class_names: {1: bright, 5: dark}\nlabels: [1, 5]\nthing_list: [1]\npadding_factor: 16\n"
    save(opened.models_dir, "two", Bright(2), two)
    save_panoptic(opened.models_dir / "tiny.pth", width=16)
    for channels in (1, 3):
        name = f"edges{channels}"
        yaml = f"model: {name}.pth\npadding_factor: 16\nmitoglance: {{kind: affinity3d}}\n"
        save_affinity(opened.models_dir / f"{name}.pth", channels)
        (opened.models_dir / f"{name}.yaml").write_text(yaml)
    yield opened
    opened.close()


ON_A_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="networks run on the GPU here")


def run(workspace: Workspace, roi: Roi = SECTION, **options: object) -> Operation:
    options = {"mode": "slice", "model": "bright", "existing": "replace-all", **options}
    return workspace.segment(workspace.plan_segmentation("cell", roi, **options), ANA)  # type: ignore[arg-type]


@ON_A_CPU
def test_a_small_level_is_run_as_it_is_and_a_large_one_by_the_fastest_exact_engine(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = run(workspace, model="tiny").provenance
    assert (small["engine"], small["engine_used"], small["device"]) == ("exact", "eager", "cpu")
    memory = workspace.models_dir / "engines.json"
    assert not memory.exists()
    monkeypatch.setattr(networks, "_WORTH_IT", 1)
    fast = run(workspace, mode="stack", roi=WHOLE, model="tiny").provenance
    (entry,) = json.loads(memory.read_text()).values()
    assert fast["engine_used"] == entry["engine"]
    # Once for each machine: another process finds the choice, and compares nothing.
    networks._opened.cache_clear()
    monkeypatch.setattr(engines._Maker, "fastest", None)
    again = run(workspace, mode="stack", roi=Roi((0, 0, 0), (6, 64, 65)), model="tiny")
    assert "engine_loss" not in again.provenance
    assert again.provenance["engine_used"] == "exact", "its block was known, so nothing ran"


@ON_A_CPU
def test_int8_is_recorded_with_what_it_loses_and_shares_no_blocks(workspace: Workspace) -> None:
    done = run(workspace, model="tiny", engine="int8").provenance
    assert (done["engine"], done["engine_used"]) == ("int8", "int8")
    assert done["engine_loss"]["foreground_iou"] <= 1
    level = Roi((0, 0, 0), SHAPE)
    one, other = (
        networks.open_network("tiny", engine, level, workspace.models_dir).identity
        for engine in ("exact", "int8")
    )
    assert "engine" not in one
    assert one["weights_sha256"] == done["weights_sha256"]
    assert other == {**one, "engine": "int8", "on": "cpu"}


def test_the_quantised_file_has_a_digest_of_its_own(workspace: Workspace) -> None:
    folder = workspace.models_dir
    save(folder, "both", Bright(), "model_quantized: both_q.pth\n")
    torch.jit.script(Bright(spoilt="none").eval()).save(str(folder / "both_q.pth"))
    plain = run(workspace, model="both").provenance
    done = run(workspace, model="both", engine="quantized").provenance
    recorded = (folder / "both_q.pth.sha256").read_text().split()[0]
    assert done["weights_sha256"] == recorded != plain["weights_sha256"]
    assert done["engine_used"] == "quantized"


@pytest.mark.parametrize("engine", ["warp", "quantized", ""])
def test_an_engine_that_cannot_be_is_refused_before_anything_runs(
    engine: str, workspace: Workspace
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        workspace.plan_segmentation("cell", SECTION, model="bright", engine=engine)
    assert caught.value.kind == ErrorKind.INVALID_PARAMETER


def test_warming_up_uses_the_tiles_of_the_volumes_that_there_are(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    forward = engines.FastNetwork.forward

    def noted(self: engines.FastNetwork, x: torch.Tensor, *more: object) -> object:
        seen.append(tuple(x.shape))
        return forward(self, x, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(engines.FastNetwork, "forward", noted)
    workspace.warm_up("network")
    assert set(seen) == {(1, 1, 64, 64)}


@pytest.mark.parametrize("mode", ["slice", "stack", "orthoplane"])
def test_a_run_is_after_one_class_of_several(mode: str, workspace: Workspace) -> None:
    roi = SECTION if mode == "slice" else WHOLE
    small = {"parameters": {"min_size": 100, "min_extent": 2}, "mode": mode, "model": "two"}
    bright = run(workspace, roi, **small)
    assert len(bright.added_roots) == 2
    assert bright.provenance["class_name"] == "bright"
    em = image()[roi.slices()]
    assert np.array_equal(workspace.cutout("cell", roi) > 0, em > 200)
    # Stuff is one object, wherever it lies.
    dark = run(workspace, roi, class_name="dark", **small)
    assert len(dark.added_roots) == 1
    assert (dark.provenance["class_id"], dark.provenance["class_name"]) == (5, "dark")
    assert np.array_equal(workspace.cutout("cell", roi) > 0, em < 50)


@pytest.mark.parametrize("mode", ["slice", "stack", "orthoplane"])
def test_all_classes_are_found_in_one_run_that_sees_each_tile_once(
    mode: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    forward = engines.FastNetwork.forward

    def noted(self: engines.FastNetwork, x: torch.Tensor, *more: object) -> object:
        calls.append(len(x))
        return forward(self, x, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(engines.FastNetwork, "forward", noted)
    roi = SECTION if mode == "slice" else WHOLE
    how = {"parameters": {"min_size": 101, "min_extent": 2}, "mode": mode, "model": "two"}
    done = run(workspace, roi, class_name="all", **how)
    seen = {"slice": 1, "stack": 6, "orthoplane": 6 + 64 + 64}[mode]
    # On a GPU there are some tiles in a batch, and empty ones fill the last.
    assert sum(calls) == seen or torch.cuda.is_available()
    em = image()[roi.slices()]
    assert np.array_equal(workspace.cutout("cell", roi) > 0, (em > 200) | (em < 50))
    assert [known["objects"] for known in done.provenance["classes"]] == [2, 1]
    # Objects of earlier runs may go on outside of the section.
    made = set(np.unique(workspace.cutout("cell", roi)).tolist())
    bright, dark = (
        [o for o in workspace.objects("cell", class_name=name) if o.root in made]
        for name in ("bright", "dark")
    )
    assert (len(bright), len(dark)) == (2, 1)
    assert np.array_equal(workspace.cutout("cell", roi) == dark[0].root, em < 50)
    following = workspace.objects("cell", class_name="bright", limit=1, after=bright[0].root)
    assert following == [bright[1]]
    names, before = workspace.class_names("cell"), workspace.head("cell")
    assert {"bright", "dark"} <= set(names)
    workspace.delete("cell", [o.root for o in workspace.objects("cell", class_name="dark")], ANA)
    assert workspace.class_names("cell") == [name for name in names if name != "dark"]
    assert workspace.class_names("cell", before) == names
    workspace.undo("cell", ANA)
    assert all(o.confidence is not None for o in bright + dark)
    # Each class has its blocks: the other one alone is known now.
    calls.clear()
    alone = run(workspace, roi, class_name="dark", **how)
    assert (calls, len(alone.added_roots)) == ([], 1)
    few = how["parameters"] | {"maximum_objects_per_class": 1}  # type: ignore[operator]
    with pytest.raises(InvalidInputError, match="There are 2 objects"):
        run(workspace, roi, class_name="5, bright", **{**how, "parameters": few})


def test_what_is_cut_keeps_its_class(workspace: Workspace) -> None:
    how = {"parameters": {"min_size": 100, "min_extent": 2}, "mode": "stack", "model": "two"}
    run(workspace, WHOLE, class_name="bright,dark", **how)
    cut = workspace.split("cell", [[(2, 40, 10)], [(2, 40, 54)]], ANA)
    assert set(workspace.object_classes("cell", cut.added_roots).values()) == {"dark"}
    assert len(cut.added_roots) == 2
    painted = workspace.objects("cell", class_name="dark")
    assert sorted(o.root for o in painted) == sorted(cut.added_roots)
    workspace.undo("cell", ANA)


def test_a_model_brings_its_own_parameters_and_what_is_asked_for_stands_above_them(
    workspace: Workspace,
) -> None:
    own = "padding_factor: 16\nmitoglance: {parameters: {%s}}\n"
    sure = own % "confidence_thr: 0.8, test_time_augmentation: true"
    save(workspace.models_dir, "sure", Bright(), sure)
    save(workspace.models_dir, "strange", Bright(), own % "confidence_thr: 8")

    def planned(
        model: str = "sure", preset: str | None = None, **given: float
    ) -> dict[str, object]:
        plan = workspace.plan_segmentation(
            "cell", SECTION, model=model, preset=preset, parameters=given
        )
        return plan.parameters.to_json()

    usual = planned("bright")
    assert planned() == {**usual, "confidence_thr": 0.8, "test_time_augmentation": True}
    other = planned(confidence_thr=0.5, test_time_augmentation=False, min_area=7)
    assert other == {**usual, "min_area": 7}
    # empanada has no such thing, and is compared with as it is.
    exact = planned(preset="empanada-exact")
    assert (exact["confidence_thr"], exact["test_time_augmentation"]) == (0.5, False)
    with pytest.raises(FormatError, match=r"model strange .*confidence_thr must be"):
        planned("strange")
    assert run(workspace, SECTION, model="sure").provenance["parameters"]["confidence_thr"] == 0.8


@pytest.mark.parametrize("preset", [None, "empanada-exact"])
def test_stacks_are_kept_beside_the_result_and_never_written(
    preset: str | None, workspace: Workspace
) -> None:
    how = {"parameters": {"min_size": 100, "min_extent": 2}, "model": "two", "preset": preset}
    asked = workspace.plan_segmentation(
        "cell", WHOLE, mode="orthoplane", keep_stacks=True, existing="replace-all", **how
    )  # type: ignore[arg-type]
    run_id = f"run-{preset}"
    with closing(workspace.show_found(asked, run_id)) as show:
        with_stacks = workspace.segment(asked, ANA, show=show)
        assert show.stacks is not None
        assert show.stacks.planes == 3
    there = workspace.cutout("cell", WHOLE)
    for plane in ("xy", "xz", "yz"):
        labels = stack_in(workspace.data_dir, run_id, plane, WHOLE)
        assert np.array_equal(labels > 0, image() > 200)
        assert len(np.unique(labels)) == 3 or preset is not None
    part = Roi((1, 20, 30), (4, 30, 20))
    assert np.array_equal(
        stack_in(workspace.data_dir, run_id, "xz", part) > 0, image()[part.slices()] > 200
    )
    plain = run(workspace, WHOLE, mode="orthoplane", **how)
    assert np.array_equal(workspace.cutout("cell", WHOLE) > 0, there > 0)
    assert len(plain.added_roots) == len(with_stacks.added_roots)
    for name, plane in (("run-x", "xy"), (run_id, "zz"), ("../x", "xy")):
        with pytest.raises(NotFoundError):
            stack_in(workspace.data_dir, name, plane, part)
    # In other modes there is nothing to keep.
    assert not workspace.plan_segmentation("cell", SECTION, keep_stacks=True).keep_stacks


def test_stacks_of_old_runs_make_room(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 9, (70, 20, 20)).astype(np.uint32)
    for number in range(4):
        KeptStacks(tmp_path, f"run-{number}", max_bytes=30_000).add("xy", labels)
    assert np.array_equal(stack_in(tmp_path, "run-3", "xy", Roi((0, 0, 0), (70, 20, 20))), labels)
    with pytest.raises(NotFoundError, match="any more"):
        stack_in(tmp_path, "run-0", "xy", Roi((0, 0, 0), (1, 1, 1)))


@pytest.mark.parametrize("name", ["nucleus", "2", 0, "", "all,", "bright,nucleus"])
def test_a_class_that_the_model_does_not_know_is_refused(
    name: str | int, workspace: Workspace
) -> None:
    with pytest.raises(InvalidInputError, match=r"no class .*1 \(bright\), 5 \(dark\)"):
        workspace.plan_segmentation("cell", SECTION, model="two", class_name=name)


def test_a_network_with_other_classes_than_described_changes_nothing(workspace: Workspace) -> None:
    three = "class_names: {1: a, 2: b, 3: c}\n"
    save(workspace.models_dir, "three", Bright(2), three)
    before = workspace.head("cell")
    with pytest.raises(FormatError, match="3 channels, not the 4"):
        run(workspace, model="three")
    assert workspace.head("cell") == before


@pytest.mark.parametrize("channels", [1, 3])
def test_a_3d_network_runs_in_the_same_jobs(channels: int, workspace: Workspace) -> None:
    name = f"edges{channels}"
    small = {"parameters": {"min_size": 100, "min_extent": 2}, "mode": "stack", "model": name}
    done = run(workspace, WHOLE, **small)
    assert len(done.added_roots) == 2
    assert done.provenance["engine_used"] == "exact"
    found = workspace.cutout("cell", WHOLE) > 0
    assert found[2:4, 10:22, 10:22].all()
    assert not found[:, 30:, :].any()
    for wrong in ({"mode": "orthoplane"}, {"engine": "int8"}):
        with pytest.raises(InvalidInputError):
            workspace.plan_segmentation("cell", WHOLE, **{**small, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["slice", "stack", "orthoplane"])
def test_the_preset_gives_what_empanada_gives_for_the_region(
    mode: str, workspace: Workspace
) -> None:
    roi = Roi((1, 4, 4), (1 if mode == "slice" else 5, 50, 47))
    small = {"min_size": 50, "min_extent": 2}
    done = run(workspace, roi, mode=mode, model="two", preset="empanada-exact", parameters=small)
    parameters = done.provenance["parameters"]
    assert (parameters["match_ioa_thr"], parameters["min_area"]) == (0.25, 0)
    assert (done.provenance["preset"], done.provenance["contrast"]) == ("empanada-exact", None)

    def network(section: np.ndarray, steps: int, fine: bool) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            maps = Bright(2).eval()(torch.from_numpy(section)[None, None], steps, fine)
        return {name: value.numpy() for name, value in maps.items()}

    em = image()[roi.slices()]
    model = ExactModel(labels=(1, 2), thing_list=(1,))
    exact = ExactParameters(**small)
    if mode == "slice":
        expected = segment_slice_exact(em[0], network, model, exact)[None]
        expected = np.where(expected // exact.label_divisor == 1, expected, 0)
    elif mode == "stack":
        expected = segment_stack_exact(em, network, model, exact)[1]
    else:
        expected = segment_orthoplane_exact(em, network, model, exact)[1]
    found = workspace.cutout("cell", roi)
    count = len(np.unique(expected))
    assert count >= 3
    for found_object in workspace.objects("cell"):
        # The network is as sure of bright as its logits are, in every plane.
        sure = found_object.to_json()
        assert 0.5 < sure["probability"] <= 1
        assert sure["agreement"] == 1
    pairs = np.unique(np.stack([expected.astype(np.uint64), found]).reshape(2, -1), axis=1)
    assert pairs.shape[1] == len(np.unique(pairs[1])) == count
    workspace.undo("cell", ANA)


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "exact"},
        {"engine": "int8"},
        {"grey_range": GreyRange(10, 200)},
        {"model": "edges3"},
        {"parameters": {"label_erosion": 1}},
        {"parameters": {"maximum_objects_per_class": 1}},
    ],
)
def test_what_empanada_does_not_do_is_refused_with_its_preset(
    options: dict[str, object], workspace: Workspace
) -> None:
    options = {"model": "bright", "preset": "empanada-exact", **options}
    with pytest.raises(InvalidInputError):
        workspace.plan_segmentation("cell", SECTION, **options)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_job_on_a_gpu_says_so_and_shares_no_blocks_with_a_cpu(workspace: Workspace) -> None:
    done = run(workspace)
    assert done.provenance["device"] == "cuda"
    level = Roi((0, 0, 0), SHAPE)
    opened = networks.open_network("bright", "exact", level, workspace.models_dir)
    assert opened.identity["on"] == "cuda"
    assert len(done.added_roots) == 2
