"""This package puts a run to use: it answers new photos, scores other labelled data, and writes features."""
