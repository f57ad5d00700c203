"""LiteRT sessions and dequantization."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import int8_tflite, tflite

from tledge.runtimes import runtime, runtimes
from tledge.runtimes.quantized_values import dequantize


def test_codes_do_not_wrap_at_the_ends_of_uint8() -> None:
    codes = np.array([0, 199, 200, 201, 255], np.uint8)
    np.testing.assert_allclose(dequantize(codes, (0.5, 200)), [-100, -0.5, 0, 0.5, 27.5])


def test_codes_do_not_wrap_at_the_ends_of_int8() -> None:
    codes = np.array([-128, 0, 127], np.int8)
    np.testing.assert_allclose(dequantize(codes, (0.25, -128)), [0, 32, 63.75])
    np.testing.assert_allclose(dequantize(codes, (0.25, 127)), [-63.75, -31.75, 0])


def test_floats_pass_through_as_float32() -> None:
    values = np.array([0.25, -1.5], np.float16)
    assert dequantize(values, (0.0, 0)).dtype == np.float32
    assert dequantize(values, (0.0, 0)).tolist() == [0.25, -1.5]


@pytest.mark.parametrize("data", [int8_tflite, lambda: tflite(float_input=False)], ids=["int8", "float"])
def test_a_session_gives_float32_probabilities(data: object) -> None:
    model = data()  # type: ignore[operator]
    photo = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    answer = runtime("litert").load(model, 1, "XNNPACK").predict(photo)
    assert (answer.shape, answer.dtype) == ((10,), np.float32)
    assert answer.sum() == pytest.approx(1, abs=10 / 512)


def test_the_int8_answer_is_close_to_the_float_answer() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (16, 1, 32, 32, 3), np.uint8)
    exact, rounded = (runtime("litert").load(data, 1, "XNNPACK") for data in (tflite(float_input=False), int8_tflite()))
    differences = [np.abs(exact.predict(photo) - rounded.predict(photo)).max() for photo in photos]
    assert max(differences) < 4 / 256  # four steps of the output


def test_answers_do_not_depend_on_the_number_of_threads_beyond_rounding() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    one, two = (runtime("litert").load(int8_tflite(), threads, "XNNPACK").predict(photo) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_an_answer_is_not_overwritten_by_the_next_one() -> None:
    session = runtime("litert").load(tflite(float_input=False), 1, "XNNPACK")
    dark = session.predict(np.zeros((1, 32, 32, 3), np.uint8))
    kept = dark.copy()
    session.predict(np.full((1, 32, 32, 3), 255, np.uint8))
    np.testing.assert_array_equal(dark, kept)


def test_every_runtime_names_itself_its_files_and_its_installed_libraries() -> None:
    for name, found in runtimes().items():
        assert found.name == name
        assert all(suffix.startswith(".") for suffix in found.suffixes)
        assert found.missing_libraries() == []
