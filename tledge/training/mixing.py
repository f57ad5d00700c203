"""MixUp and CutMix mix a photo and its label with another photo of the batch.

Sources: Zhang et al., "mixup: beyond empirical risk minimization" (2018); Yun et al., "CutMix: regularization strategy
to train strong classifiers with localizable features" (2019). The share is drawn for each photo, not once per batch.
"""

from __future__ import annotations

from typing import Any

from tledge.tensorflow_setup import tensorflow


def mix(pixels: Any, one_hot: Any, key: Any, mixup_alpha: float, cutmix_alpha: float) -> tuple[Any, Any]:
    """Mix the photos of a batch, float32 (N, S, S, 3), and their one-hot labels, float32 (N, num_classes).

    ``key``, int32 (2,), draws the mixture. Each photo keeps a share drawn from Beta(alpha, alpha). An alpha of 0 turns
    its method off, and none may be negative. With both on, each photo takes one of them at even odds. MixUp blends the
    two photos by the share. CutMix fills a box, whose area is the rest, from the partner. The box may reach over the
    edge, so the share becomes the area that is left. Labels are mixed by the share.
    """
    tf = tensorflow()
    if not mixup_alpha and not cutmix_alpha:
        return pixels, one_hot
    num_photos, size = tf.shape(pixels)[0], pixels.shape[1]
    seeds = tf.random.experimental.stateless_split(key, 5)
    if mixup_alpha and cutmix_alpha:
        takes_mixup = tf.random.stateless_uniform((num_photos,), seeds[0]) < 0.5
    else:
        takes_mixup = tf.fill((num_photos,), bool(mixup_alpha))
    blended = _beta(num_photos, mixup_alpha or 1.0, seeds[1])
    outside = _outside_of_a_box(size, _beta(num_photos, cutmix_alpha or 1.0, seeds[2]), seeds[3])
    kept = tf.where(takes_mixup[:, None, None], blended[:, None, None], outside)  # (N, S, S)
    share = tf.reduce_mean(kept, axis=(1, 2))[:, None]
    partner = tf.random.experimental.stateless_shuffle(tf.range(num_photos), seeds[4])
    other, other_label = tf.gather(pixels, partner), tf.gather(one_hot, partner)
    return other + kept[..., None] * (pixels - other), other_label + share * (one_hot - other_label)


def _beta(count: Any, alpha: float, seed: Any) -> Any:
    """Draw float32 (count,) from Beta(alpha, alpha), as the share of one gamma variable in the sum of two."""
    tf = tensorflow()
    pair = tf.random.stateless_gamma((2, count), seed, alpha)
    return tf.math.divide_no_nan(pair[0], pair[0] + pair[1])


def _outside_of_a_box(size: int, share: Any, seed: Any) -> Any:
    """Make a mask float32 (N, S, S): 0 in a square of the area 1 - ``share``, and 1 elsewhere.

    The square is centred anywhere in the photo.
    """
    tf = tensorflow()
    side = tf.sqrt(1 - share) * size
    centre = tf.random.stateless_uniform((2, tf.shape(share)[0]), seed) * size
    middle = tf.range(size, dtype=tf.float32) + 0.5
    inside = tf.abs(middle - centre[..., None]) < side[:, None] / 2  # (2, N, S): columns, rows
    return 1 - tf.cast(inside[1][:, :, None] & inside[0][:, None, :], tf.float32)
