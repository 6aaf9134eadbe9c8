"""Of which class objects are: what the run that made them looked for.

A segmentation's provenance says which of the ids that it gave out are of which class. An object is
of the class of the supervoxel that it is named by; what was cut off it is of the same class.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from segmentation_backend.labels import LabelView, ObjectStats, Operation

__all__ = ["class_ranges", "classes_in", "classes_of", "of_class"]

_CUTS = 32
"""Cuts that are followed back: an object that was cut more often has a class nobody knows."""

_LOOKED_UP = 500
"""Ids of a class that are looked up at a time."""
_LOOK_UPS = 40
"""Look-ups for a class after which nothing of it is taken to be left."""


def class_ranges(
    kinds: Sequence[int], names: Sequence[tuple[int, str]], first_id: int
) -> list[dict[str, Any]]:
    """Return what a provenance says of classes, given the class of each object in order of its id.

    `names` are ids and names of the classes; `first_id` is the first object's. Ids are text.
    """
    runs: dict[int, list[list[str]]] = {kind: [] for kind in range(len(names))}
    begin = 0
    for at in range(1, len(kinds) + 1):
        if at == len(kinds) or kinds[at] != kinds[begin]:
            runs[kinds[begin]].append([str(first_id + begin), str(first_id + at - 1)])
            begin = at
    return [
        {
            "class_id": class_id,
            "class_name": name,
            "objects": sum(int(b) - int(a) + 1 for a, b in runs[kind]),
            "ids": runs[kind],
        }
        for kind, (class_id, name) in enumerate(names)
    ]


def classes_of(view: LabelView, roots: Iterable[int]) -> dict[int, str]:
    """Return the class of objects by name; those that no run looked for are absent."""
    found: dict[int, str] = {}
    followed = {root: root for root in roots}
    for _ in range(_CUTS):
        makers = view.makers_of(set(followed.values()))
        onwards: dict[int, int] = {}
        for root, supervoxel in followed.items():
            maker = makers.get(supervoxel)
            name = None if maker is None else _named(maker.provenance, supervoxel)
            origin = None if maker is None else _cut_from(maker, supervoxel)
            if name is not None:
                found[root] = name
            elif origin is not None:
                onwards[root] = origin
        if not onwards:
            break
        followed = onwards
    return found


def classes_in(view: LabelView) -> list[str]:
    """Return the names of the classes that objects of a version are of, in alphabetical order.

    It goes by what runs found and is still there. Cut-off parts are of the class of what is left.
    """
    ids: dict[str, list[range]] = {}
    present: set[str] = set()
    for run in view.noted("segment", ("classes", "class_name")):
        if run["classes"] is None and run["class_name"] is not None:
            present.add(str(run["class_name"]))  # of an earlier release, which kept no ids
        for known in run["classes"] or ():
            ranges = [range(int(first), int(last) + 1) for first, last in known["ids"]]
            ids.setdefault(str(known["class_name"]), []).extend(ranges)
    present.update(name for name in ids if name not in present and _is_any_left(view, ids[name]))
    return sorted(present)


def _is_any_left(view: LabelView, ids: Iterable[range]) -> bool:
    each = chain.from_iterable(ids)
    batches = iter(lambda: list(islice(each, _LOOKED_UP)), [])
    return any(view.statistics_of(asked) for asked in islice(batches, _LOOK_UPS))


def of_class(
    name: str,
    view: LabelView,
    page: Callable[[int | None], list[ObjectStats]],
    limit: int,
    after: int | None = None,
) -> list[ObjectStats]:
    """Return `limit` objects of a class after one; `page` returns objects after one (None: all).

    Pages are looked through until there are enough, or no more.
    """
    kept: list[ObjectStats] = []
    while len(kept) < limit and (found := page(after)):
        classes = classes_of(view, [stats.root for stats in found])
        kept += [stats for stats in found if classes.get(stats.root) == name]
        after = found[-1].root
    return kept[:limit]


def _named(provenance: Mapping[str, Any], supervoxel: int) -> str | None:
    if "classes" not in provenance:
        return provenance.get("class_name")
    for known in provenance["classes"]:
        begins = [int(first) for first, _ in known["ids"]]
        at = bisect_right(begins, supervoxel) - 1
        if at >= 0 and supervoxel <= int(known["ids"][at][1]):
            return str(known["class_name"])
    return None


def _cut_from(maker: Operation, root: int) -> int | None:
    for old, new in maker.splits:
        if root in new and old != root:
            return old
    return None
