"""This module draws training curves and trials as pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def _own_style() -> Iterator[None]:
    """Use Matplotlib's own settings within the block.

    Otherwise it reads a ``matplotlibrc`` of the working directory, which may ask for LaTeX.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


@_own_style()
def plot_history(history: list[dict[str, float]], best_epoch: int, path: Path) -> None:
    """Draw loss and accuracy by epoch, for training and validation, and mark the chosen epoch."""
    from matplotlib.figure import Figure

    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, metric, unit in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), ("cross-entropy", "fraction"), strict=True
    ):
        axes.plot(epochs, [row[metric] for row in history], label="training", color="#888888")
        axes.plot(epochs, [row[f"val_{metric}"] for row in history], label="validation", color="#0b6e99")
        axes.axvline(best_epoch, linestyle=":", color="#c0392b", label=f"kept: epoch {best_epoch}")
        axes.set(title=metric.capitalize(), xlabel="epoch", ylabel=unit)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


@_own_style()
def plot_trials(accuracies: list[float | None], is_pruned: list[bool], path: Path) -> None:
    """Draw the validation accuracy of each trial, as a fraction, and the best so far.

    None stands for a trial that reached no accuracy. A pruned trial is drawn at its highest accuracy, and does not
    count for the best.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    numbers = range(1, len(accuracies) + 1)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    best, so_far = 0.0, []
    for accuracy, pruned in zip(accuracies, is_pruned, strict=True):
        best = best if pruned or accuracy is None else max(best, accuracy)
        so_far.append(best)
    for wanted, marker, colour, label in ((False, "o", "#0b6e99", "trial"), (True, "x", "#888888", "pruned trial")):
        shown = [
            (number, accuracy)
            for number, accuracy, pruned in zip(numbers, accuracies, is_pruned, strict=True)
            if pruned == wanted and accuracy is not None
        ]
        if shown:
            axes.scatter(*zip(*shown, strict=True), marker=marker, color=colour, label=label)
    axes.step(numbers, so_far, where="post", color="#c0392b", label="best so far")
    axes.set(title="Trials", xlabel="trial", ylabel="validation accuracy, fraction")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
