"""How sure a network was of what it found: kept with the supervoxels it made, added up by object.

Whole numbers throughout, so that parts that are added in any order give the same sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["PARTS", "UNKNOWN", "Confidence", "ConfidenceSums"]

PARTS = 10_000
"""What stands for a share of 1; networks' own values are not finer than that."""


class Confidence(NamedTuple):
    """How sure a network was of one supervoxel, or of an object on average; 0 to `PARTS` each."""

    probability: int
    """Mean probability of the voxels."""
    agreement: int
    """Mean share of the planes that found something at the voxels."""

    @classmethod
    def of(cls, probability: float, agreement: float) -> Confidence:
        """Return the confidence that two shares from 0 to 1 stand for; InvalidInputError."""
        if not (0 <= probability <= 1 and 0 <= agreement <= 1):
            raise InvalidInputError(
                f"A confidence is two shares from 0 to 1, not {probability} and {agreement}.",
                ErrorKind.INVALID_PARAMETER,
            )
        return cls(round(probability * PARTS), round(agreement * PARTS))


class ConfidenceSums(NamedTuple):
    """Confidences added up over voxels; those that nothing is known of do not count."""

    voxels: int = 0
    """How many voxels something is known of."""
    probability: int = 0
    agreement: int = 0

    @classmethod
    def of(cls, voxels: int, confidence: Confidence | None) -> ConfidenceSums:
        """Return the sums over so many voxels of one supervoxel."""
        if confidence is None:
            return UNKNOWN
        return cls(voxels, voxels * confidence.probability, voxels * confidence.agreement)

    def plus(self, other: ConfidenceSums) -> ConfidenceSums:
        """Return the sums over both sets of voxels."""
        if not other.voxels:
            return self
        return ConfidenceSums(
            self.voxels + other.voxels,
            self.probability + other.probability,
            self.agreement + other.agreement,
        )

    @property
    def mean(self) -> Confidence | None:
        """The mean over the voxels that something is known of; None where there are none."""
        if not self.voxels:
            return None
        return Confidence(self.probability // self.voxels, self.agreement // self.voxels)

    @classmethod
    def total(cls, parts: Iterable[ConfidenceSums]) -> ConfidenceSums:
        """Return the sums over all parts."""
        total = UNKNOWN
        for part in parts:
            total = total.plus(part)
        return total


UNKNOWN = ConfidenceSums()
"""Of what was made by hand, or before confidences were kept."""
