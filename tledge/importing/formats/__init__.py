"""Each file of this package reads one format of model files, and declares itself as ``FORMAT``."""
