"""The versioned truth: supervoxels in immutable packs, joins and history in SQL; no torch."""

from segmentation_backend.labels.agglomeration import Agglomeration
from segmentation_backend.labels.base import LabelBase
from segmentation_backend.labels.base_description import BaseDescription, describe_base
from segmentation_backend.labels.blame import Blame, blame
from segmentation_backend.labels.branches import MAIN, Branch
from segmentation_backend.labels.changes import ObjectChange, object_changes
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
from segmentation_backend.labels.lineage import ObjectLineage, lineage
from segmentation_backend.labels.merge_bases import MergeBase, merge_base
from segmentation_backend.labels.names import Tag
from segmentation_backend.labels.operations import (
    BranchMerge,
    Lineage,
    Operation,
    OperationMeta,
)
from segmentation_backend.labels.outcome import Outcome
from segmentation_backend.labels.pack_folder import PackFolder
from segmentation_backend.labels.pack_opening import open_packs
from segmentation_backend.labels.packs import PackStore
from segmentation_backend.labels.repository import LabelRepository
from segmentation_backend.labels.statistics import ObjectStats, SupervoxelStatistics
from segmentation_backend.labels.view import LabelView

__all__ = [
    "CHUNK_SIDE",
    "MAIN",
    "Agglomeration",
    "BaseChunk",
    "BaseDescription",
    "Blame",
    "Branch",
    "BranchMerge",
    "ChunkChange",
    "ChunkKey",
    "Delta",
    "InlineChunk",
    "LabelBase",
    "LabelRepository",
    "LabelView",
    "Lineage",
    "MergeBase",
    "ObjectChange",
    "ObjectLineage",
    "ObjectStats",
    "Operation",
    "OperationId",
    "OperationMeta",
    "Outcome",
    "PackFolder",
    "PackStore",
    "RootId",
    "StatisticsChange",
    "StoredChunk",
    "SupervoxelId",
    "SupervoxelStatistics",
    "Tag",
    "blame",
    "check_id",
    "check_ids",
    "describe_base",
    "lineage",
    "merge_base",
    "object_changes",
    "open_packs",
]
