"""This kind of layer does nothing outside training, so a folded network has none."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind("idle", ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"), is_idle=True)
