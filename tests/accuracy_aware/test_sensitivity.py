"""Which layers are found to lose most, and which compute in float together."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tledge.accuracy_aware.sensitivity import choices, ranked
from tledge.compression.codes import Grid
from tledge.compression.fitting import fit_network
from tledge.compression.folding import Folded, fold
from tledge.compression.layer_roles import is_weighted
from tledge.progress import Silent

SIZE = 16


@pytest.fixture
def folded() -> Folded:
    """Images to logits: pooled, added, read twice."""
    import tf_keras
    from tf_keras import layers

    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    x = images = layers.Input((SIZE, SIZE, 3), name="images")
    x = layers.Conv2D(8, 3, 2, "same", activation="relu", name="stem")(x)
    x = pooled = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(8, 3, 1, "same", activation="relu", name="left")(x)
    x = layers.Add(name="add")([layers.Conv2D(8, 1, name="right")(pooled), x])
    x = layers.Conv2D(12, 1, activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return fold(tf_keras.Model(images, layers.Dense(4, name="logits")(x)))


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)


def _spread(network: Any, maker: str, reader: str) -> None:
    """Channels of very different size between two layers; the answers stay."""
    kernel, bias = network.get_layer(maker).get_weights()
    factors = 10.0 ** np.linspace(-2, 2, len(bias))
    network.get_layer(maker).set_weights([kernel * factors, bias * factors])
    kernel, bias = network.get_layer(reader).get_weights()
    network.get_layer(reader).set_weights([kernel / factors[:, None], bias])


def test_the_layer_that_reads_channels_of_very_different_size_loses_most(folded: Folded, photos: np.ndarray) -> None:
    before = ranked(folded, photos)
    assert max(before.values()) < 0.01
    _spread(folded.network, "last", "logits")
    errors = ranked(folded, photos)
    assert next(iter(errors)) == "logits"
    assert errors["logits"] > 20 * before["logits"]
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
    others = {name: error for name, error in errors.items() if name not in ("logits", "last/activation", "mean")}
    assert others == pytest.approx({name: before[name] for name in others})


def test_every_operator_is_ranked_and_those_that_keep_codes_are_not(folded: Folded, photos: np.ndarray) -> None:
    assert ranked(folded, photos).keys() == {
        "stem/activation", "left/activation", "right", "add", "last/activation", "mean", "logits",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stem/activation", {"stem"}),  # the codes of pixels are exact
        ("left/activation", {"stem", "pool", "left", "right"}),
        ("add", {"right", "left", "add"}),
        ("last/activation", {"add", "last"}),
        ("logits", {"mean", "logits"}),
    ],
)
def test_a_layer_in_float_takes_along_what_makes_its_inputs_and_what_else_reads_them(
    folded: Folded, name: str, expected: set[str]
) -> None:
    (found,) = choices(folded.network, [name])
    assert {layer.removesuffix("/activation") for layer in found} == expected
    for layer in ("stem", "left", "last"):  # a ReLU goes with what it alone reads
        assert (layer in found) == (f"{layer}/activation" in found)


def test_choices_grow_in_the_order_given_and_leave_a_layer_with_weights_in_integers(
    folded: Folded, photos: np.ndarray
) -> None:
    found = choices(folded.network, list(ranked(folded, photos)))
    assert all(set(fewer) < set(more) for fewer, more in itertools.pairwise(found))
    weighted = {layer.name for layer in folded.network.layers if is_weighted(layer)}
    assert all(weighted - set(chosen) for chosen in found)


def test_a_network_that_would_be_float_altogether_has_no_choice() -> None:
    import tf_keras
    from tf_keras import layers

    images = layers.Input((SIZE, SIZE, 3), name="images")
    x = layers.Conv2D(4, SIZE, activation="relu", name="only")(images)
    small = fold(tf_keras.Model(images, layers.Flatten(name="logits")(x)))
    assert choices(small.network, ["only/activation"]) == []


def test_layers_in_float_keep_the_weights_that_were_trained_and_what_only_they_read_has_no_codes(
    folded: Folded, photos: np.ndarray
) -> None:
    (chosen,) = choices(folded.network, ["last/activation"])
    assert set(chosen) == {"add", "last", "last/activation"}
    prepared = fit_network(folded.copied(), photos, "min-max", Silent(), float_layers=chosen)
    assert prepared.float_layers == chosen
    assert prepared.ranges.keys() == ranked(folded, photos).keys() - {"add"} | {"pool"}
    for layer in filter(is_weighted, prepared.network.layers):
        kernel, trained = (
            network.get_layer(layer.name).get_weights()[0] for network in (prepared.network, folded.network)
        )
        assert np.array_equal(kernel, trained) == (layer.name == "last")
        assert np.allclose(kernel, Grid().on_codes(layer, kernel), rtol=1e-5, atol=0) == (layer.name != "last")
