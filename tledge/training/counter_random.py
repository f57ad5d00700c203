"""This module draws random numbers from keys: a row's numbers depend on its own key alone, whatever its batch."""

from __future__ import annotations

from typing import Any

from tledge.tensorflow_setup import tensorflow

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def uniforms(keys: Any, count: int, stream: int = 0) -> Any:
    """Draw uniform numbers float64 (N, count) in [0, 1), in steps of 2**-32, from ``keys`` int32 (N, 2).

    Another ``stream`` gives other numbers for the same keys. A larger ``count`` keeps the first ones.
    TensorFlow's own stateless generators take one seed for a whole tensor, so they can't do this.
    """
    tf = tensorflow()
    words = tf.bitcast(keys, tf.uint32)
    pairs = (count + 1) // 2
    counters = tf.constant([list(range(pairs))], tf.uint32)
    pair = threefry(words[:, 0:1], words[:, 1:2], counters, tf.constant(stream, tf.uint32))
    numbers = tf.reshape(tf.stack(pair, axis=-1), (tf.shape(keys)[0], 2 * pairs))[:, :count]
    return tf.cast(numbers, tf.float64) * 2.0**-32


def threefry(key0: Any, key1: Any, counter0: Any, counter1: Any) -> tuple[Any, Any]:
    """Compute two uint32 random numbers from two keys and two counters, by Threefry-2x32 with 20 rounds.

    All arguments are uint32, and the results have the shape that they broadcast to.
    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
    """
    tf = tensorflow()

    def number(value: int) -> Any:
        return tf.constant(value, tf.uint32)

    schedule = (key0, key1, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(key0, key1), number(_PARITY)))
    left, right = counter0 + key0, counter1 + key1
    for group in range(1, 6):
        for distance in _ROTATIONS[(group - 1) % 2]:
            left = left + right
            high = tf.bitwise.left_shift(right, number(distance))
            low = tf.bitwise.right_shift(right, number(32 - distance))
            right = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_or(high, low), left)
        left = left + schedule[group % 3]
        right = right + schedule[(group + 1) % 3] + number(group)
    return left, right
