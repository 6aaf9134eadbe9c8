"""From grey values to objects: tiles, maps, grouping, stacks.

Only the parameters are named here, since they are needed where torch is not; `runner`, `planes`
and `stack` do the work.
"""

from segmentation_backend.inference.parameters import (
    InferenceParameters,
    ParameterDescription,
    parameter_descriptions,
)

__all__ = ["InferenceParameters", "ParameterDescription", "parameter_descriptions"]
