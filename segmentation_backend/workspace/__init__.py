"""The front door: volumes, their labels, edits and segmentation, for the web and for notebooks."""

from segmentation_backend.inference import parameter_descriptions
from segmentation_backend.sources.catalogue import CatalogueView, Dataset
from segmentation_backend.sources.catalogue_store import DatasetCatalogue
from segmentation_backend.workspace.catalog import VolumeInfo
from segmentation_backend.workspace.compiling import FIRST_TIME, on_compiling
from segmentation_backend.workspace.drawn_regions import parse_sections
from segmentation_backend.workspace.editing import EditContext
from segmentation_backend.workspace.encoding import EncodedChunk, LabelForm, encode_nothing
from segmentation_backend.workspace.found import FoundSoFar
from segmentation_backend.workspace.getting_ready import READY_STEPS
from segmentation_backend.workspace.image_chunks import ImageChunk, ImageChunks
from segmentation_backend.workspace.planning import VOXEL_SIZES_NM, GreyRange, SegmentationPlan
from segmentation_backend.workspace.previews import SplitPreview
from segmentation_backend.workspace.published import NO_LABELS
from segmentation_backend.workspace.strokes import Stroke, decode_mask, encode_mask
from segmentation_backend.workspace.waiting import WaitingRoom
from segmentation_backend.workspace.workspace import Workspace

__all__ = [
    "FIRST_TIME",
    "NO_LABELS",
    "READY_STEPS",
    "VOXEL_SIZES_NM",
    "CatalogueView",
    "Dataset",
    "DatasetCatalogue",
    "EditContext",
    "EncodedChunk",
    "FoundSoFar",
    "GreyRange",
    "ImageChunk",
    "ImageChunks",
    "LabelForm",
    "SegmentationPlan",
    "SplitPreview",
    "Stroke",
    "VolumeInfo",
    "WaitingRoom",
    "Workspace",
    "decode_mask",
    "encode_mask",
    "encode_nothing",
    "on_compiling",
    "parameter_descriptions",
    "parse_sections",
]
