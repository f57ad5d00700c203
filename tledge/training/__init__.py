"""This package trains classifiers: it reads photos once, fits a head or a whole network, and writes the run folder."""
