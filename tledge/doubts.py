"""What a run's own record says against its model: told when it is built, and in every report of it."""

from __future__ import annotations

from tledge.records import Manifest

_Z = 1.96  # standard errors; chance exceeds them once in forty times


def doubts(manifest: Manifest) -> list[str]:
    """Sentences for the user; none for a model that was trained to its end and does better than knowing no photo would."""
    return [*_of_training(manifest), *_of_test(manifest)]


def _of_training(manifest: Manifest) -> list[str]:
    """Whether the epochs ended while the validation loss still fell.

    A rate that falls to zero over the epochs makes the last one the best by itself, so that nothing can be told there.
    """
    last = manifest.recipe.get("max_epochs")
    if manifest.recipe.get("schedule") == "cosine" or manifest.best_epoch != last:
        return []
    return [
        f"best epoch {last} of --max-epochs {last}: the training ended while the validation loss still fell, and more epochs "
        "may do better"
    ]


def _of_test(manifest: Manifest) -> list[str]:
    """Whether the test photos would be answered as well by the most frequent class, or by a random one.

    By a random one: the score test of a share against chance, which Wilson's interval is made of.
    """
    found, labels, trained = manifest.metrics["test"], manifest.labels, manifest.splits["train"].class_counts
    frequent = max(labels, key=lambda label: trained[label])
    matrix = found.confusion_matrix
    num_frequent, num_right = sum(matrix[labels.index(frequent)]), sum(row[place] for place, row in enumerate(matrix))
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
