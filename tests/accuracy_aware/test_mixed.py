"""Which operators of a graph stay float."""

from __future__ import annotations

from tledge.exporters.mixed import float_operators

# What each reads and writes. Of a layer "conv" that takes two operators, and of "dense", in front of which one stands idle.
OPERATORS = [
    (["pixels", "kernel"], ["product"]),
    (["product", "bias"], ["conv"]),
    (["conv"], ["row"]),
    (["row", "weights"], ["dense"]),
    (["conv"], ["other"]),
    (["dense"], ["probabilities"]),
]
NAMES = {"conv": ["conv"], "dense": ["dense"], "other": ["other"]}


def test_all_operators_of_a_layer_are_float_and_none_of_the_others() -> None:
    assert float_operators(OPERATORS, NAMES, ["conv"]) == [0, 1]
    assert float_operators(OPERATORS, NAMES, ["other"]) == [4]
    assert float_operators(OPERATORS, NAMES, []) == []


def test_an_operator_between_two_layers_goes_with_what_reads_it() -> None:
    assert float_operators(OPERATORS, NAMES, ["dense"]) == [2, 3]


def test_what_no_layer_of_the_network_makes_stays_integer() -> None:
    assert float_operators(OPERATORS, NAMES, ["conv", "dense", "other"]) == [0, 1, 2, 3, 4]
