"""This package compares every artifact of a run with the original and judges it by the target's budgets."""
