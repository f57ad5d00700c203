"""Where backbones come from. One source is one file of this package, which is found by its ``SOURCE``."""
