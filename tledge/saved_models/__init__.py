"""This package opens every SavedModel of tledge; it reads and checks one first, for it may be a stranger's program."""

from tledge.saved_models.load import (
    GRAPH,
    DamagedSavedModel,
    load_original,
    load_saved_model,
    require_image_network,
    saved_variables,
)

__all__ = [
    "GRAPH",
    "DamagedSavedModel",
    "load_original",
    "load_saved_model",
    "require_image_network",
    "saved_variables",
]
