"""This module finds reasons in a run's own record to doubt its model. ``build`` and every report show them."""

from __future__ import annotations

from tledge.records import Manifest

_Z = 1.96  # standard errors; chance alone exceeds them one time in forty


def doubts(manifest: Manifest) -> list[str]:
    """List reasons to doubt a run's model, each a sentence for the user.

    The list is empty where the training came to its end and the model is better than guessing without a photo.
    """
    return [*_of_import(manifest), *_of_training(manifest), *_of_test(manifest)]


def _of_import(manifest: Manifest) -> list[str]:
    """Return a doubt where a model was trained elsewhere, on photos that nobody named."""
    if manifest.imported is None or manifest.imported.training_photos == "known":
        return []
    return [
        "trained elsewhere: it is unknown whether the test photos are disjoint from the training photos, so the accuracy of the "
        "original may be too high. Name the photos that it was trained on with --trained-on"
    ]


def _of_training(manifest: Manifest) -> list[str]:
    """Return a doubt where the epochs ended while the validation loss still fell.

    A learning rate that falls to zero makes the last epoch the best by itself, so a cosine schedule allows no
    conclusion.
    """
    last = manifest.recipe.get("max_epochs")
    if manifest.recipe.get("schedule") == "cosine" or manifest.best_epoch != last:
        return []
    return [
        f"best epoch {last} of --max-epochs {last}: the training ended while the validation loss still fell, and more epochs "
        "may do better"
    ]


def _of_test(manifest: Manifest) -> list[str]:
    """Return a doubt where the test answers are no better than the most frequent class, or than a random class.

    Against a random class, this is the score test of a share against chance, from which Wilson's interval is made.
    """
    found, labels, trained = manifest.metrics["test"], manifest.labels, manifest.splits["train"].class_counts
    frequent = max(labels, key=lambda label: trained[label])
    of_frequent = labels.index(frequent)
    num_frequent = sum(count for actual, _, count in found.confusions if actual == of_frequent)
    num_right = sum(count for actual, predicted, count in found.confusions if actual == predicted)
    said = []
    if num_right <= num_frequent:
        said.append(
            f"test accuracy {found.accuracy:.2%} is no better than that of answering {frequent} to every photo, "
            f"{num_frequent / found.num_photos:.2%}"
        )
    chance = 1 / len(labels)
    if num_right - chance * found.num_photos <= _Z * (found.num_photos * chance * (1 - chance)) ** 0.5:
        said.append(
            f"test accuracy {found.accuracy:.2%} on {found.num_photos} photos can't be told from that of guessing at random, "
            f"{chance:.2%}"
        )
    return said
