"""What the crash tests run in other processes: edits on one store, each acknowledged in a file."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from databases import address_in

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels, merge, split
from segmentation_backend.errors import ConflictError
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.labels import LabelRepository, OperationMeta

SHAPE = (12, 96, 96)
LEVELS = plan_levels(SHAPE, (8.0, 8.0, 8.0), min_side=16)


class KillAt:
    """Ends its process, as kill -9 does, the first time a commit reaches a step."""

    def __init__(self, step: str) -> None:
        self.step = step

    def __call__(self, step: str) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def no_hook(_step: str) -> None:
    """Let every step pass."""


def open_store(folder: Path, hook: Callable[[str], None] = no_hook) -> LabelRepository:
    """Return the store of the crash tests."""
    engine = open_database(address_in(folder))
    return LabelRepository(engine, folder / "packs", "v", LEVELS, hook=hook)


def import_slice(repository: LabelRepository, rng: np.random.Generator, meta: OperationMeta) -> int:
    """Import a slice of bars and return the operation's id."""
    roi = Roi((int(rng.integers(SHAPE[0])), 0, 0), (1, 96, 96))
    labels = np.zeros(roi.shape, dtype=np.uint32)
    begin = int(rng.integers(0, 40))
    for k in range(3):
        labels[0, begin + 16 * k : begin + 16 * k + 10, 8:88] = k + 1
    delta = import_labels(repository.at(), roi, labels, repository.reserve_ids(3))
    return repository.commit(delta, meta).operation_id


def edit(repository: LabelRepository, rng: np.random.Generator, request_id: str) -> int | None:
    """Make one random edit and return its operation id; None when another was faster."""
    meta = OperationMeta("segment", "writer", request_id=request_id)
    view = repository.at()
    objects = view.objects()
    choice = rng.random()
    try:
        if choice < 0.4 or len(objects) < 2:
            return import_slice(repository, rng, meta)
        picked = [int(i) for i in rng.choice(len(objects), size=2, replace=False)]
        if choice < 0.7:
            delta = merge(view, [objects[i].root for i in picked])
            return repository.commit(
                delta, OperationMeta("merge", "writer", request_id=request_id)
            ).operation_id
        target = objects[picked[0]]
        inside = np.argwhere(view.read(target.bbox) == target.root) + target.bbox.offset
        delta = split(view, [[inside[0]], [inside[-1]]], repository.reserve_ids)
        meta = OperationMeta("split", "writer", request_id=request_id)
        return repository.commit(delta, meta).operation_id
    except ConflictError:
        return None


def keep_editing(folder: Path, name: str, seed: int, count: int) -> None:
    """Edit `count` times, noting each answered operation in `acks-<name>` as "id request"."""
    repository = open_store(folder)
    rng = np.random.default_rng(seed)
    # Unbuffered: what was noted before a kill stays noted.
    with (folder / f"acks-{name}").open("ab", buffering=0) as acks:
        for number in range(count):
            request_id = f"{name}-{number}"
            operation_id = edit(repository, rng, request_id)
            if operation_id is not None:
                acks.write(f"{operation_id} {request_id}\n".encode())


def edit_and_die(folder: Path, step: str, request_id: str, kind: str) -> None:
    """Make one edit in a process that dies when its commit reaches `step`."""
    repository = open_store(folder, KillAt(step))
    if kind == "segment":
        meta = OperationMeta("segment", "writer", request_id=request_id)
        import_slice(repository, np.random.default_rng(1), meta)
    else:
        roots = [o.root for o in repository.at().objects(sort="root", limit=2)]
        delta = merge(repository.at(), roots)
        repository.commit(delta, OperationMeta("merge", "writer", request_id=request_id))


def merge_pairs(folder: Path, name: str, pairs: list[tuple[int, int]]) -> None:
    """Merge each pair, trying again when another process was faster."""
    repository = open_store(folder)
    for number, pair in enumerate(pairs):
        request_id = f"{name}-{number}"
        while True:
            view = repository.at()
            if view.root_of(pair[0]) == view.root_of(pair[1]):
                break
            try:
                meta = OperationMeta("merge", name, request_id=request_id)
                repository.commit(merge(view, pair), meta)
                break
            except ConflictError:
                continue


def same_request(folder: Path, request_id: str, name: str) -> None:
    """Import one slice under a request id that others use at the same time."""
    repository = open_store(folder)
    meta = OperationMeta("segment", name, request_id=request_id)
    operation_id = import_slice(repository, np.random.default_rng(5), meta)
    (folder / f"answer-{name}").write_text(str(operation_id))
