"""Which weights become zero, and how many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tledge.compression.folding import Folded, fold, is_depthwise, summing
from tledge.compression.pruning import Sparsity, prune
from tledge.errors import InputError
from tledge.progress import Silent


@pytest.fixture
def folded(network: Any) -> Folded:
    return fold(network)


def _kernels(network: Any) -> dict[str, np.ndarray]:
    return {layer.name: layer.get_weights()[0] for layer in summing(network)}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_of_all_weights_and_the_smallest_layers_stay_whole(
    folded: Folded, photos: np.ndarray, share: float
) -> None:
    pruned, notes = prune(folded, Sparsity.parse(str(share)), photos[:8], Silent())
    kernels = _kernels(pruned.network)
    total = sum(kernel.size for kernel in kernels.values())
    assert sum((kernel == 0).sum() for kernel in kernels.values()) / total == pytest.approx(share, abs=0.03)
    whole = [kernel for kernel in kernels.values() if kernel.all()]
    assert sum(kernel.size for kernel in whole) <= 0.1 * (1 - share) * total
    assert notes["pruned_layers"] == len(kernels) - len(whole) > 0
    for layer in pruned.network.layers:
        if is_depthwise(layer):
            assert np.array_equal(layer.get_weights()[0], folded.network.get_layer(layer.name).get_weights()[0])


def test_of_each_output_those_go_that_add_least_to_it() -> None:
    import tf_keras

    from tledge.compression import InputCodes

    inputs = tf_keras.Input((4, 4, 4))
    network = tf_keras.Model(
        inputs, tf_keras.layers.Dense(2, name="logits")(tf_keras.layers.GlobalAveragePooling2D()(inputs))
    )
    small_of_a_large_input, large_of_a_small_one = 0.3, 0.9
    kernel = np.array([[small_of_a_large_input, 1], [large_of_a_small_one, 2], [0.5, 3], [0.4, 4]], np.float32)
    network.get_layer("logits").set_weights([kernel, np.zeros(2)])
    photos = np.zeros((3, 4, 4, 4), np.uint8)
    photos[..., 0], photos[..., 1], photos[..., 2:] = 200, 10, 100
    pruned, _ = prune(Folded(network, InputCodes(1 / 255, 0), 0.0), Sparsity.parse("0.5"), photos, Silent())
    zeros = pruned.network.get_layer("logits").get_weights()[0] == 0
    # 0.3 x 200 and 0.5 x 100 stay, 0.9 x 10 and 0.4 x 100 go; 3 x 100 and 4 x 100, and not 1 x 200 and 2 x 10.
    assert zeros.T.tolist() == [[False, True, False, True], [True, True, False, False]]


def test_two_of_every_four_in_a_row_go_where_rows_are_of_fours(folded: Folded, photos: np.ndarray) -> None:
    pruned, notes = prune(folded, Sparsity.parse("2:4"), photos[:8], Silent())
    num_blocks = 0
    for kernel in _kernels(pruned.network).values():
        rows = np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1)
        if not kernel.all():
            assert rows.shape[1] % 4 == 0
            assert ((rows.reshape(-1, 4) == 0).sum(axis=1) == 2).all()
            num_blocks += rows.size // 4
    assert num_blocks > 0
    assert notes["sparsity"] == "2:4"


@pytest.mark.parametrize(("sparsity", "why"), [("6:13", "no layer that may lose some"), ("0.001", "it is too little")])
def test_a_sparsity_that_makes_nothing_zero_is_an_error(
    folded: Folded, photos: np.ndarray, sparsity: str, why: str
) -> None:
    with pytest.raises(InputError, match=f"--sparsity {sparsity} makes no weight of this network zero: {why}"):
        prune(folded, Sparsity.parse(sparsity), photos[:8], Silent())
