"""The versioned truth: supervoxels in immutable packs, joins and history in SQL; no torch."""

from segmentation_backend.labels.agglomeration import Agglomeration
from segmentation_backend.labels.branches import MAIN, Branch
from segmentation_backend.labels.chunks import CHUNK_SIDE
from segmentation_backend.labels.delta import (
    BaseChunk,
    ChunkChange,
    ChunkKey,
    Delta,
    InlineChunk,
    StatisticsChange,
    StoredChunk,
)
from segmentation_backend.labels.ids import OperationId, RootId, SupervoxelId, check_id, check_ids
from segmentation_backend.labels.names import Tag
from segmentation_backend.labels.operations import Lineage, Operation, OperationMeta
from segmentation_backend.labels.packs import PackStore
from segmentation_backend.labels.repository import LabelRepository
from segmentation_backend.labels.statistics import ObjectStats, SupervoxelStatistics
from segmentation_backend.labels.view import LabelView

__all__ = [
    "CHUNK_SIDE",
    "MAIN",
    "Agglomeration",
    "BaseChunk",
    "Branch",
    "ChunkChange",
    "ChunkKey",
    "Delta",
    "InlineChunk",
    "LabelRepository",
    "LabelView",
    "Lineage",
    "ObjectStats",
    "Operation",
    "OperationId",
    "OperationMeta",
    "PackStore",
    "RootId",
    "StatisticsChange",
    "StoredChunk",
    "SupervoxelId",
    "SupervoxelStatistics",
    "Tag",
    "check_id",
    "check_ids",
]
