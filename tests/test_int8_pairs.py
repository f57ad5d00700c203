"""Which weights ONNX Runtime adds products of in 16 bits is what ``int8_pairs`` says, and bounded ones never reach the end."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from other_cpu import answers_without_vnni, exact_answers

from tledge.int8_pairs import LARGEST_SUM, largest_sums, onnx_rows, rounded, scales

# (outputs, inputs / group, rows, columns) and the number of groups.
CONVOLUTIONS = {
    "pointwise": ((8, 8, 1, 1), 1),
    "odd number of channels": ((8, 3, 3, 3), 1),
    "grouped": ((6, 3, 2, 2), 2),
    "depthwise": ((16, 1, 3, 3), 16),
    "depthwise with two outputs a channel": ((16, 1, 3, 3), 8),
}


def _convolution(weights: np.ndarray, group: int, path: Path) -> Path:
    """A QDQ model: uint8 (1, inputs, 3, 3) to the codes of the sums, one code for 300."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    outputs, inputs = len(weights), weights.shape[1] * group
    values = {
        "w": weights.astype(np.int8),
        "w_scale": np.ones(outputs, np.float32),
        "w_zero": np.zeros(outputs, np.int8),
        "x_scale": np.float32(1),
        "x_zero": np.uint8(0),
        "y_scale": np.float32(300),
        "y_zero": np.uint8(0),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["x_real"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_real"], axis=0),
        helper.make_node("Conv", ["x_real", "w_real"], ["y_real"], group=group),
        helper.make_node("QuantizeLinear", ["y_real", "y_scale", "y_zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, inputs, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_two_products_of_weights_of_the_largest_sum_fit_into_16_bits_and_of_one_more_do_not() -> None:
    assert 255 * LARGEST_SUM < 2**15 <= 255 * (LARGEST_SUM + 1)


@pytest.mark.long
def test_onnx_runtime_cuts_off_the_sums_of_these_pairs_and_of_no_others(tmp_path: Path) -> None:
    """Two weights of 127 in each place of a kernel in turn: their sum is too small exactly where they are a pair."""
    inputs, is_pair = {}, {}
    for name, (shape, group) in CONVOLUTIONS.items():
        places = onnx_rows("Conv", np.arange(np.prod(shape)).reshape(shape), group)
        every = places if places is not None else np.arange(np.prod(shape)).reshape(shape[0], -1).T
        couples = list(itertools.combinations(range(len(every)), 2))
        for one, other in couples[:: 1 + len(couples) // 40]:
            weights = np.zeros(int(np.prod(shape)))
            weights[every[[one, other]]] = 127
            path = _convolution(weights.reshape(shape), group, tmp_path / f"{name} {one} {other}.onnx")
            inputs[path] = np.full((1, shape[1] * group, 3, 3), 255, np.uint8)
            is_pair[path] = places is not None and one % 2 == 0 and other == one + 1
    found = answers_without_vnni(inputs, tmp_path)
    assert any(is_pair.values())
    for path, pixels in inputs.items():
        is_cut_off = bool((found[path] < exact_answers(path, pixels)).any())
        assert is_cut_off == is_pair[path], path.stem


@pytest.mark.parametrize("num_inputs", [1, 2, 7, 8])
def test_rounded_weights_use_the_room_of_their_pairs_and_no_more(num_inputs: int) -> None:
    weights = np.random.default_rng(num_inputs).normal(size=(num_inputs, 4000))
    wanted = weights / scales(weights, 127)
    found = rounded(wanted)
    assert set(largest_sums(found)) <= {127, LARGEST_SUM}
    assert np.array_equal(found, np.round(wanted))


def test_a_pair_of_halves_that_a_sum_of_floats_put_above_them_is_rounded_to_no_more_than_its_room() -> None:
    above = np.nextafter(63.5, 64)
    assert rounded(np.array([[above], [np.nextafter(64.5, 65)]])).sum() == LARGEST_SUM
    assert rounded(np.array([[-above], [-np.nextafter(64.5, 65)]])).sum() == -LARGEST_SUM


def test_weights_of_different_signs_work_against_each_other() -> None:
    assert largest_sums(np.array([[127.0], [-127.0]])).tolist() == [127]
    assert largest_sums(np.array([[-100.0], [-100.0]])).tolist() == [200]
    assert largest_sums(np.array([[0.0], [100.0], [100.0]])).tolist() == [100]  # the second and the third are no pair
