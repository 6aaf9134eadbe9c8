"""Sections of networks that tell several classes apart: things have instances, stuff has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.inference.kernels import find_runs, join_runs, paint_runs
from segmentation_backend.inference.panoptic import (
    Labels,
    Maps,
    group_section,
    label_groups,
    segment_maps,
)
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.models.specs import ModelSpec

__all__ = ["Classes", "Target", "segment_classes"]


@dataclass(frozen=True, slots=True)
class Classes:
    """What a network tells apart. Class k is channel k of its probabilities, 0 the background."""

    ids: tuple[int, ...] = (1,)
    """The classes that are wanted, from 1."""
    things: tuple[int, ...] = (1,)
    """Those of them that come as instances; the others are stuff."""

    def __post_init__(self) -> None:
        """Refuse classes that cannot be."""
        unknown = sorted(set(self.things) - set(self.ids))
        if unknown or not self.ids or min(self.ids) < 1 or len(set(self.ids)) < len(self.ids):
            raise InvalidInputError(
                f"Classes must be different numbers from 1 and things some of them, not "
                f"{self.ids} with things {self.things}.",
                ErrorKind.INVALID_PARAMETER,
            )


@dataclass(frozen=True, slots=True)
class Target:
    """The one class of a network whose objects a run is after."""

    channel: int
    """Of the network's probabilities, 0 being the background."""
    classes: Classes
    """All that the network tells apart: what is most likely something else is not of the class."""

    @classmethod
    def of(cls, spec: ModelSpec, class_id: int | None = None) -> Target:
        """Return a class of a model by its id, its first thing (or first class) without one.

        InvalidInputError where the model has no such class.
        """
        wanted = spec.class_of(class_id)
        channels = {label: place for place, label in enumerate(spec.labels, start=1)}
        things = tuple(channels[label] for label in spec.labels if label in spec.thing_list)
        return cls(channels[wanted], Classes(tuple(channels.values()), things))

    @property
    def is_stuff(self) -> bool:
        """Whether all there is of the class is one object."""
        return self.channel not in self.classes.things

    @property
    def channels(self) -> int:
        """The number of channels that the network gives."""
        return 1 if self.classes.ids == (1,) else len(self.classes.ids) + 1

    def segment(self, maps: Maps, parameters: InferenceParameters) -> Labels:
        """Return the objects (H, W) int32 of the class in a section."""
        found = segment_classes(maps, self.classes, parameters, (self.channel,))
        return found[self.channel]

    def probability(self, maps: Maps) -> NDArray[np.float32]:
        """Return the probability (H, W) of the class in a section."""
        return maps.probability if self.channels == 1 else maps.probability[self.channel]


def segment_classes(
    maps: Maps,
    classes: Classes,
    parameters: InferenceParameters,
    wanted: tuple[int, ...] | None = None,
) -> dict[int, Labels]:
    """Return the objects (H, W) int32 of each class: 1..n of a thing, 1 wherever there is stuff.

    Of those `wanted`, where given; what they are does not depend on that.

    With one class a pixel is foreground from `confidence_thr` on. With several it has the class of
    the highest probability, and each connected piece of an instance takes the class of most of its
    pixels, wherever the pixels are things.
    """
    if maps.probability.ndim == 2:
        return _segment_one(maps, classes, parameters)
    channels = len(maps.probability)
    if max(classes.ids) >= channels:
        raise InvalidInputError(
            f"The network gives {channels} channels, background included, so there is no class "
            f"{max(classes.ids)}; name classes from 1 to {channels - 1}.",
            ErrorKind.INVALID_PARAMETER,
        )
    best: Labels = maps.probability.argmax(0).astype(np.int32)
    asked = classes.ids if wanted is None else wanted
    things = [c for c in asked if c in classes.things]
    found = {c: (best == c).astype(np.int32) for c in asked if c not in things}
    if things:
        groups, stride = group_section(maps, parameters)
        decided = best if parameters.semantic_only else _decide(best, classes, groups, stride)
        for c in things:
            found[c] = label_groups(decided == c, groups, stride, parameters)
    return {c: found[c] for c in asked}


def _segment_one(
    maps: Maps, classes: Classes, parameters: InferenceParameters
) -> dict[int, Labels]:
    if classes.ids != (1,):
        raise InvalidInputError(
            f"The network gives one class, so there are no classes {classes.ids}; name class 1.",
            ErrorKind.INVALID_PARAMETER,
        )
    if classes.things:
        return {1: segment_maps(maps, parameters)}
    return {1: (maps.probability >= parameters.confidence_thr).astype(np.int32)}


def _decide(best: Labels, classes: Classes, groups: Labels, stride: int) -> NDArray[np.int32]:
    """Return the class (H, W) of every pixel of a thing, 0 elsewhere: one for each piece.

    On a tie the class with the lower number wins.
    """
    is_thing = np.zeros(int(best.max(initial=0)) + 1, np.bool_)
    is_thing[[c for c in classes.things if c < len(is_thing)]] = True
    foreground = is_thing[best]
    runs, rows = find_runs(foreground, groups, stride)
    pieces, count = join_runs(runs, rows)
    painted = paint_runs(runs, pieces, best.shape)
    codes = painted[foreground].astype(np.int64) * len(is_thing) + best[foreground]
    votes = np.bincount(codes, minlength=(count + 1) * len(is_thing))
    winner = votes.reshape(count + 1, -1).argmax(1).astype(np.int32)
    winner[0] = 0
    decided: NDArray[np.int32] = winner[painted]
    return decided
