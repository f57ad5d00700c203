"""This package turns a network into integers before it becomes a file.

It rounds weights to quantized values and chooses the ranges of activations.
"""

from tledge.compression.codes import LARGEST_CODE
from tledge.compression.prepared_network import FEW_PHOTOS, InputCodes, PreparedNetwork
from tledge.compression.tensor_names import named_by_value

__all__ = ["FEW_PHOTOS", "LARGEST_CODE", "InputCodes", "PreparedNetwork", "named_by_value"]
