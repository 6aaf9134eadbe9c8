"""Labels of one level on the voxels of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation_backend.geometry import Roi, VoxelSize

__all__ = ["to_level_zero"]


def to_level_zero(
    labels: npt.NDArray[Any],
    level_roi: Roi,
    level_voxel_size: VoxelSize,
    roi: Roi,
    voxel_size: VoxelSize,
) -> npt.NDArray[np.uint32]:
    """Return labels (z, y, x) of a coarser level on the voxels of `roi` at level 0.

    Each fine voxel takes the label of the coarse voxel that its centre lies in.
    """
    index = []
    for axis in range(3):
        fine = (np.arange(roi.shape[axis]) + roi.offset[axis] + 0.5) * voxel_size[axis]
        coarse = np.floor(fine / level_voxel_size[axis]).astype(np.int64)
        index.append(np.clip(coarse - level_roi.offset[axis], 0, level_roi.shape[axis] - 1))
    return np.ascontiguousarray(labels[np.ix_(*index)].astype(np.uint32))
