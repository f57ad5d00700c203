"""Layers that do nothing outside training: a folded network has none."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind("idle", ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"), is_idle=True)
