"""A network becomes integers before it becomes a file: its weights are rounded to codes, and its activations get ranges."""

from tledge.compression.codes import LARGEST_CODE
from tledge.compression.prepared_network import FEW_PHOTOS, InputCodes, PreparedNetwork
from tledge.compression.tensor_names import named_by_value

__all__ = ["FEW_PHOTOS", "LARGEST_CODE", "InputCodes", "PreparedNetwork", "named_by_value"]
