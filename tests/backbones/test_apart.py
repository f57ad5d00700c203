"""A Hub module's features are computed in a process of its own, and are those it would give in this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import DEFAULT, Backbone, apart, open_backbone
from tledge.backbones.fast_inference import answers, convert_function
from tledge.errors import InputError
from tledge.training.build import build

SaveModule = Callable[..., Path]


def _photos(size: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def _children() -> set[str]:
    """What the children of this process run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid():
                found.add((stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def _is_running() -> bool:
    return any(apart.PROGRAM in command for command in _children())


def _same_in_both(backbone: Backbone) -> None:
    photos = _photos(backbone.input_size)
    assert backbone.apart is not None
    np.testing.assert_array_equal(backbone.features(photos), backbone.features_of_pixels(photos).numpy())
    backbone.apart.convert()
    here = answers(convert_function(backbone.features_of_pixels, backbone.input_size), [photos])
    there = backbone.apart.fast_features([photos[:2], photos[2:]])
    np.testing.assert_array_equal(np.concatenate(list(there)), np.concatenate(list(here)))


def test_the_features_are_those_that_this_process_would_compute(tiny_backbone: Path) -> None:
    with closing(open_backbone(str(tiny_backbone))) as backbone:
        _same_in_both(backbone)
        assert _is_running()
    assert not _is_running()


@pytest.mark.long
@pytest.mark.usefixtures("real_data")
def test_so_are_those_of_a_real_module() -> None:
    with closing(open_backbone(DEFAULT)) as backbone:
        _same_in_both(backbone)


def test_the_bundled_backbone_is_ours_and_needs_no_process(bundled: tuple[Backbone, Backbone]) -> None:
    assert bundled[0].apart is None


@pytest.fixture
def endless(save_module: SaveModule) -> Iterator[Backbone]:
    import tensorflow as tf

    def ever(pixels: tf.Tensor) -> Any:
        found = tf.while_loop(lambda x: tf.reduce_all(x > -1.0), lambda x: (x + 0.0 * x,), [tf.reshape(pixels, (-1,))])
        return tf.reduce_mean(pixels, (1, 2)) + tf.reduce_sum(found[0])

    with closing(open_backbone(str(save_module(ever)))) as backbone:
        yield backbone


@pytest.mark.long
def test_a_module_that_does_not_end_is_ended_at_its_time_limit(
    endless: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert endless.apart is not None
    endless.apart.convert()  # started, so that the start need not fit into the limit
    monkeypatch.setattr(apart, "_START_S", 1.0)
    with pytest.raises(InputError, match="no answer within .* s. Choose another --backbone"):
        endless.features(_photos(16, 1))
    assert not _is_running()


@pytest.mark.long
def test_a_module_that_crashes_is_told_and_asked_again_in_a_new_process(tiny_backbone: Path) -> None:
    with closing(open_backbone(str(tiny_backbone))) as backbone:
        before = backbone.features(_photos(16))
        assert backbone.apart is not None
        running = backbone.apart._process._running
        assert running is not None
        os.kill(running.pid, signal.SIGSEGV)
        with pytest.raises(InputError, match=r"backbone .* gives no features .*SIGSEGV.* Choose another --backbone"):
            backbone.features(_photos(16))
        np.testing.assert_array_equal(backbone.features(_photos(16)), before)


@pytest.mark.long
def test_a_build_leaves_no_process(tiny_backbone: Path, photo_folder: Callable[..., Path], tmp_path: Path) -> None:
    build(
        str(photo_folder({"cat": 30, "dog": 30})),
        backbone=str(tiny_backbone),
        run="pets",
        artifacts=tmp_path / "artifacts",
    )
    assert not _is_running()
