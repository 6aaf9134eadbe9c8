"""The models that are known by name: the embedded one, and those that empanada publishes."""

from __future__ import annotations

from segmentation_backend.models.specs import ModelSpec, Origin

__all__ = ["EMBEDDED", "MITONET", "MITONET_MINI", "PUBLISHED", "RESEARCH"]

EMBEDDED = ModelSpec(
    name="mitoglance_small",
    description="Panoptic-DeepLab with PointRend, 2.7 million parameters, for two CPU cores",
    licence="CC BY 4.0",
    voxel_size_nm=10.0,
    origin=Origin.PACKAGE,
    file_name="mitoglance_small.pt",
    sha256="eff6e79639228db91ccbd0f1e0c54c231e883ad2c393ef9ac7fff9c40ce1cfa2",
)

RESEARCH = ModelSpec(
    name="mitoglance_research",
    description="The embedded network, trained on mouse SBEM and fly ssTEM too; not for commerce",
    licence="research only, non-commercial: CC BY-NC-SA 3.0, and the terms of the mouse images "
    "((c) 2018 The Regents of the University of California); see docs/model-card-research.md and "
    "LICENSE-mitoglance_research.txt beside the weights",
    voxel_size_nm=10.0,
    origin=Origin.PACKAGE,
    file_name="mitoglance_research.pt",
    sha256="5b0c38aa50866ef968bba0a957dba32e2e5c498dbfb8c2c4900bee875e969ada",
    parameters={"test_time_augmentation": True, "confidence_thr": 0.45},
)


def _published(
    name: str,
    description: str,
    record: str,
    voxel_size_nm: float,
    padding_factor: int,
    class_name: str,
    stem: str | None = None,
) -> ModelSpec:
    """Return a model of empanada's; `record` is where on Zenodo, `stem` its files' name there."""
    # None of these files has a published checksum: what comes first is pinned (`weights`).
    address = f"https://zenodo.org/{record}/files/{stem or name}{{}}.pth?download=1"
    return ModelSpec(
        name=name,
        description=description,
        licence=f"as stated on its record, doi 10.5281/zenodo.{record.partition('/')[2]}",
        voxel_size_nm=voxel_size_nm,
        origin=Origin.DOWNLOAD,
        file_name=f"{name}.pth",
        padding_factor=padding_factor,
        class_names={1: class_name},
        url=address.format(""),
        quantized_file=f"{name}_quantized.pth",
        quantized_url=address.format("_quantized"),
    )


MITONET = _published(
    "MitoNet_v1",
    "MitoNet (Conrad and Narayan 2023), Panoptic-DeepLab with PointRend",
    "record/6861565",
    12.0,
    16,
    "mitochondrion",
)

MITONET_MINI = _published(
    "MitoNet_v1_mini",
    "MitoNet mini (Conrad and Narayan 2023), Panoptic-BiFPN with PointRend",
    "record/6861565",
    12.0,
    128,
    "mitochondrion",
)

_NUCLEONET = _published(
    "NucleoNet_base_v2",
    "NucleoNet, nuclei, Panoptic-DeepLab with PointRend",
    "records/18142651",
    20.0,
    512,
    "nucleus",
    "PanopticDeepLabPR_5f023685-7433-404c-9f3d-692898aff9ab_panoptic_deeplab_pointrend",
)

_DROPNET = _published(
    "DropNet_base_v1",
    "DropNet, lipid droplets, Panoptic-DeepLab with PointRend",
    "records/15298854",
    20.0,
    512,
    "lipid droplet",
    "PanopticDeepLabPR_b0d99498-6c99-4b45-844e-2b4dca58f24a_panoptic_deeplab_pointrend",
)

PUBLISHED = (EMBEDDED, RESEARCH, MITONET, MITONET_MINI, _NUCLEONET, _DROPNET)
"""In the order in which they are listed."""
