"""Each file of this package is one source of backbones, which is found by its ``SOURCE``."""
