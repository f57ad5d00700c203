"""Training curves as a picture."""

from __future__ import annotations

from pathlib import Path


def plot_history(history: list[dict[str, float]], best_epoch: int, path: Path) -> None:
    """Loss and accuracy by epoch, training and validation, with the chosen epoch marked."""
    from matplotlib.figure import Figure

    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, metric, unit in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), ("cross-entropy", "fraction"), strict=True
    ):
        axes.plot(epochs, [row[metric] for row in history], label="training (with dropout)", color="#888888")
        axes.plot(epochs, [row[f"val_{metric}"] for row in history], label="validation", color="#0b6e99")
        axes.axvline(best_epoch, linestyle=":", color="#c0392b", label=f"kept: epoch {best_epoch}")
        axes.set(title=metric.capitalize(), xlabel="epoch", ylabel=unit)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
