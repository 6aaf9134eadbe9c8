"""What a network is to the code that runs it: two small interfaces; needs no torch to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AffinityNetwork", "PanopticNetwork"]


@runtime_checkable
class PanopticNetwork(Protocol):
    """A 2D network of MitoNet's family."""

    def __call__(
        self, x: Tensor, render_steps: int = 2, interpolate_ins: bool = True
    ) -> dict[str, Tensor]:
        """Return the raw maps of normalised images `x` (N, 1, H, W), float32.

        H and W are multiples of the model's padding factor. `sem_logits` (N, C, h, w) with
        h = H/4 * 2**render_steps, no activation applied: a sigmoid turns one channel into
        probabilities, a softmax several, of which channel 0 is the background. `ctr_hmp`
        (N, 1, h, w), about 1 at centres, and `offsets` (N, 2, h, w), dy and dx to the centre in
        pixels of `x`, are at the full resolution with `interpolate_ins` (fine boundaries), else at
        a quarter of it.
        """


@runtime_checkable
class AffinityNetwork(Protocol):
    """A 3D network that says which neighbouring voxels belong together."""

    def __call__(self, block: Tensor) -> Tensor:
        """Return (N, C, d, h, w), float32, 0..1, of normalised blocks (N, 1, D, H, W).

        C = 3: the probability that a voxel and the one before it along z, y, x are of one object.
        C = 1: the probability that a voxel is inside of an object, not on its boundary. What is
        returned may be smaller than the block, by equal margins on both sides.
        """
