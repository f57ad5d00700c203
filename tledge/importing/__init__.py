"""This package reads classifiers that other programs trained: each format of a file is one file of ``formats/``."""
