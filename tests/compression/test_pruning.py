"""Which weights become zero, and how many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tledge.compression.folding import Folded, fold
from tledge.compression.layer_roles import is_weighted, kernel_of, summing
from tledge.compression.pruning import prune
from tledge.errors import InputError
from tledge.progress import Silent


@pytest.fixture
def folded(network: Any) -> Folded:
    return fold(network)


def _kernels(network: Any) -> dict[str, np.ndarray]:
    return {layer.name: layer.get_weights()[0] for layer in summing(network)}


def _dense(kernel: np.ndarray) -> Folded:
    """A layer of such weights on pixels that are all equal, whose mean it takes."""
    import tf_keras

    from tledge.compression import InputCodes

    inputs = tf_keras.Input((4, 4, len(kernel)))
    means = tf_keras.layers.GlobalAveragePooling2D()(inputs)
    network = tf_keras.Model(inputs, tf_keras.layers.Dense(kernel.shape[1], name="logits")(means))
    network.get_layer("logits").set_weights([kernel, np.zeros(kernel.shape[1])])
    return Folded(network, InputCodes(1 / 255, 0), 0.0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_of_all_weights_and_the_smallest_layers_stay_whole(
    folded: Folded, photos: np.ndarray, share: float
) -> None:
    pruned, notes = prune(folded, share, photos[:8], Silent())
    kernels = _kernels(pruned.network)
    total = sum(kernel.size for kernel in kernels.values())
    # A hundredth more or less is what whole weights of few inputs make.
    assert sum((kernel == 0).sum() for kernel in kernels.values()) / total == pytest.approx(share, abs=0.01)
    sizes = sorted(kernel.size for kernel in kernels.values())
    whole = sorted(kernel.size for kernel in kernels.values() if kernel.all())
    assert whole == sizes[: len(whole)]
    assert sum(whole) <= 0.1 * (1 - share) * total < sum(sizes[: len(whole) + 1])
    assert notes.pruned_layers == len(kernels) - len(whole) > 0
    for layer in pruned.network.layers:
        if is_weighted(layer) and not kernel_of(layer).sums_channels:
            assert np.array_equal(layer.get_weights()[0], folded.network.get_layer(layer.name).get_weights()[0])


def test_of_each_output_those_go_that_add_least_to_it() -> None:
    small_of_a_large_input, large_of_a_small_one = 0.3, 0.9
    kernel = np.array([[small_of_a_large_input, 1], [large_of_a_small_one, 2], [0.5, 3], [0.4, 4]], np.float32)
    photos = np.zeros((3, 4, 4, 4), np.uint8)
    photos[..., 0], photos[..., 1], photos[..., 2:] = 200, 10, 100
    pruned, _ = prune(_dense(kernel), 0.5, photos, Silent())
    zeros = pruned.network.get_layer("logits").get_weights()[0] == 0
    # 0.3 x 200 and 0.5 x 100 stay, 0.9 x 10 and 0.4 x 100 go; 3 x 100 and 4 x 100, and not 1 x 200 and 2 x 10.
    assert zeros.T.tolist() == [[False, True, False, True], [True, True, False, False]]


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.97, "87.5% of the weights become zero. These layers keep one weight of each output"), (0.5, None)],
)
def test_an_output_keeps_one_weight_and_where_that_is_less_than_was_asked_for_it_is_said(
    share: float, said: str | None
) -> None:
    kernel = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    heard = Silent()
    pruned, _ = prune(_dense(kernel), share, np.full((2, 4, 4, 8), 100, np.uint8), heard)
    assert pruned.network.get_layer("logits").get_weights()[0].any(axis=0).all()
    assert [said in warning for warning in heard.warnings] == [True] if said else not heard.warnings


def test_a_sparsity_that_makes_nothing_zero_is_an_error(folded: Folded, photos: np.ndarray) -> None:
    with pytest.raises(InputError, match="--sparsity 0.001 makes no weight of this network zero: it is too little"):
        prune(folded, 0.001, photos[:8], Silent())
