"""Write what a release stores, as text, so that later programs are tested on it.

Run once per release that changes tables, with that release's own code and an empty PostgreSQL
database, from a checkout of that release:

    PYTHONPATH=. python write_released.py FOLDER postgresql+psycopg://user@/empty?host=/run/pg

FOLDER then holds the same content from both databases (`sqlite.sql`, `postgresql.sql`), the packs
(base64, by their path in the data directory), and what every version reads like (`expected.json`).
"""

import base64
import hashlib
import json
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from app.jobs import JobStore
from app.sessions import SessionStore
from app.shares import ShareStore
from app.storage import instance_id
from segmentation_backend import edits
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository
from segmentation_backend.workspace import EditContext, Workspace
from segmentation_backend.workspace.editing import Editor

SHAPE = (20, 80, 96)
WHOLE = Roi((0, 0, 0), SHAPE)


def bars() -> np.ndarray:
    """Return two bars apart (1, 2) and one long enough to be cut (3)."""
    labels = np.zeros(SHAPE, np.uint32)
    labels[4:16, 8:20, 8:30] = 1
    labels[4:16, 8:20, 40:60] = 2
    labels[4:16, 40:52, 8:90] = 3
    return labels


def fill(workspace: Workspace, name: str, labels: np.ndarray, user: str) -> None:
    """Commit labels as a segmentation does."""
    levels = workspace.volume(name).label_levels
    folder = workspace.data_dir / "packs" / name
    repository = LabelRepository(workspace.engine, folder, name, levels)
    first = repository.reserve_ids(int(labels.max()))
    Editor(repository).commit(
        "segment",
        {},
        EditContext(user, request_id=f"{user}-{name}", provenance={"model": "µ-net"}),
        lambda view: edits.import_labels(view, WHOLE, labels, first, "replace-unedited"),
    )


def write_content(data_dir: Path, url: str | None) -> dict:
    """Make a data directory with a bit of everything; return what it reads like."""
    np.savez(data_dir.parent / "cell.npz", em=np.full(SHAPE, 128, np.uint8))
    workspace = Workspace(data_dir, url)
    for name in ("branched", "cell", "second"):
        source = str(data_dir.parent / "cell.npz")
        workspace.register(name, source, dataset="em", voxel_size=(8.0, 8.0, 8.0))
    fill(workspace, "cell", bars(), "ana")
    ana, bob = EditContext("ana"), EditContext("bob", request_id="r-merge")
    workspace.merge("cell", ids=[1, 2], points=None, edit=bob)
    groups = [[(10, 46, 12)], [(10, 46, 86)]]
    workspace.split("cell", groups, ana)
    workspace.undo("cell", ana)  # of the split
    workspace.redo("cell", ana)  # it stands again
    workspace.undo("cell", EditContext("bob"))  # of the merge, for good
    workspace.merge("cell", ids=None, points=[(10, 10, 10), (10, 46, 12)], edit=ana)
    workspace.revert("cell", 2, EditContext("cy", provenance={"why": "look"}))
    fill(workspace, "cell", np.roll(bars(), 20, axis=1), "dee")
    workspace.merge("cell", ids=[1, 3], points=None, edit=EditContext("bob"))
    fill(workspace, "second", bars(), "ana")
    branch_out(workspace)
    ShareStore(workspace.engine).create("cell", 3, {"layers": []}, "ana")
    SessionStore(workspace.engine).create("cell", "bob", {"layers": []}, pinned_version=2)
    JobStore(workspace.engine).submit("segment", "cell", {"volume": "cell"}, "ana", "job-1")
    instance_id(workspace.engine)
    expected = {name: read_all(workspace, name) for name in ("branched", "cell", "second")}
    workspace.close()
    return expected


def branch_out(workspace: Workspace) -> None:
    """Edit two branches of a volume apart, merge one into the other, and go on on both."""
    fill(workspace, "branched", bars(), "ana")
    workspace.create_branch("branched", "review", "bob")
    bob = EditContext("bob", branch="review")
    workspace.merge("branched", ids=[1, 2], points=None, edit=bob)
    workspace.split("branched", [[(10, 46, 12)], [(10, 46, 86)]], EditContext("ana"))
    workspace.create_tag("branched", "before", "ana")
    workspace.merge_branch("branched", "review", EditContext("ana"))
    workspace.undo("branched", bob)
    workspace.delete("branched", [2], EditContext("cy"))


def read_all(workspace: Workspace, name: str) -> dict:
    """Return every operation, and for every version what it reads like."""
    versions = []
    branches = {branch.name: branch.head for branch in workspace.branches(name)}
    for version in range(max(branches.values()) + 1):
        view = workspace.at(name, version)
        digest = hashlib.sha256()
        for level in view.levels:
            digest.update(view.read(Roi((0, 0, 0), level.shape), level.level).tobytes())
        objects = [o.to_json() for o in view.objects(sort="root")]
        versions.append({"voxels": digest.hexdigest(), "objects": objects})
    operations = [o.to_json() for o in workspace.operations(name, limit=1000)]
    tags = {tag.name: tag.version for tag in workspace.tags(name)}
    return {
        "operations": operations,
        "versions": versions,
        "branches": branches,
        "tags": tags,
    }


def packs_in(data_dir: Path) -> dict[str, str]:
    files = sorted((data_dir / "packs").glob("*/*/*.pack"))
    return {str(f.relative_to(data_dir)): base64.b64encode(f.read_bytes()).decode() for f in files}


def dump_postgresql(url: str) -> str:
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    command = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", "--dbname", plain]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    left_out = ("--", "SET ", "SELECT pg_catalog.set_config", "\\")
    lines = [line for line in text.splitlines() if line and not line.startswith(left_out)]
    return "\n".join(lines) + "\n"


def main(folder: Path, url: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    expected, packs = {}, {}
    for database, where in (("sqlite", None), ("postgresql", url)):
        with tempfile.TemporaryDirectory() as scratch:
            data_dir = Path(scratch) / "data"
            expected[database] = write_content(data_dir, where)
            packs[database] = packs_in(data_dir)
            if where is None:
                connection = sqlite3.connect(data_dir / "mitoglance.sqlite")
                text = "\n".join(connection.iterdump()) + "\n"
                connection.close()
            else:
                text = dump_postgresql(where)
            (folder / f"{database}.sql").write_text(text.replace(scratch, "/data-of-the-release"))
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    (folder / "packs.json").write_text(json.dumps(packs, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
