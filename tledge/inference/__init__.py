"""Putting a run to use: answers to new photos, and its score on other labelled data."""
