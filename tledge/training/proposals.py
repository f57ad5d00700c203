"""This module asks Optuna which values a search tries next, and which trials end early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tledge.errors import ArtifactError
from tledge.training.recipe import Recipe
from tledge.training.study import STUDY, HeadChoice, Study, Trial

if TYPE_CHECKING:
    import optuna

HEADS = ("linear", "mlp:64", "mlp:128", "mlp:256", "mlp:512")
BATCH_SIZES = (32, 64, 128, 256)
LEARNING_RATES, DROPOUTS, LABEL_SMOOTHINGS = (1e-4, 3e-2), (0.0, 0.8), (0.0, 0.3)
# No trial is pruned before this many were whole, in its first epochs, or in an epoch that fewer trials reached.
_UNPRUNED_TRIALS, _UNPRUNED_EPOCHS = 5, 5


def proposed(kept: Study) -> optuna.Trial:
    """Return the next trial of a study, as Optuna proposes it.

    The first trial is the recipe as given, and a tree-structured Parzen estimator proposes the others. It is rebuilt
    from the trials on the disk, and its seed follows from their number. An interrupted search therefore goes on as if
    nothing had happened. Raises ArtifactError for trials that can't belong to this search.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    number = len(kept.trials)
    sampler_seed = int(np.random.SeedSequence([kept.seed, number]).generate_state(1)[0])
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=sampler_seed),
        pruner=optuna.pruners.MedianPruner(_UNPRUNED_TRIALS, _UNPRUNED_EPOCHS, n_min_trials=_UNPRUNED_TRIALS),
    )
    space = _space(kept.recipe)
    try:
        for trial in kept.trials:
            study.add_trial(_told(trial, space))
    except ValueError as error:
        raise ArtifactError(
            f"{STUDY} holds a trial out of the ranges that are searched ({error}). Choose another --study."
        ) from error
    if not number:
        study.enqueue_trial(dict(HeadChoice.of(kept.recipe)))
    return study.ask(space)


def _told(trial: Trial, space: dict[str, Any]) -> optuna.trial.FrozenTrial:
    """Convert a trial that ended to Optuna's record; a diverged trial counts like one pruned in its first epoch."""
    import optuna

    accuracies = [] if trial.ended == "diverged" else trial.accuracies
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if trial.ended == "whole" else optuna.trial.TrialState.PRUNED,
        value=trial.accuracy if trial.ended == "whole" else accuracies[-1] if accuracies else None,
        params=dict(trial.choice),
        distributions=space,
        intermediate_values=dict(enumerate(accuracies, start=1)) if trial.choice.has_steps else {},
    )


def _space(recipe: Recipe) -> dict[str, Any]:
    """Return the range of each searched value; the recipe's own values are always inside."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    def between(limits: tuple[float, float], own: float, *, log: bool = False) -> FloatDistribution:
        return FloatDistribution(min(*limits, own), max(*limits, own), log=log)

    return {
        "learning_rate": between(LEARNING_RATES, recipe.learning_rate, log=True),
        "dropout": between(DROPOUTS, recipe.dropout),
        "label_smoothing": between(LABEL_SMOOTHINGS, recipe.label_smoothing),
        "head": CategoricalDistribution(list(dict.fromkeys([*HEADS, recipe.head]))),
        "batch_size": CategoricalDistribution(list(dict.fromkeys([*BATCH_SIZES, recipe.batch_size]))),
    }
