"""Recipes hold every number of a training, and this module says which of them a method reads.

The options of ``tledge build`` are made of these fields, so this module imports nothing that takes long.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tledge.classifier import LINEAR
from tledge.record_base import Record
from tledge.training.augmentation_settings import PRESETS, Augmentation
from tledge.training.shown import Shown


class Recipe(Record):
    """A recipe says how a classifier is trained.

    The method ``features`` trains the head alone, on features of photos and of augmented views that are computed once.
    ``cut`` trains the head first, and then the layers above a cut, on activations that are computed once. ``whole``
    trains the head first, and then the whole graph on photos. An untrained backbone needs no first head.
    """

    name: str = "head"
    method: Literal["features", "cut", "whole"] = "features"
    head: Annotated[str, Shown("Head")] = Field(
        LINEAR,
        description="Use a head of this shape on top of the backbone: linear, or hidden layers as in mlp:256 or mlp:256,64. "
        "Try hidden layers where a linear head leaves accuracy behind.",
    )
    dropout: Annotated[float, Shown("Head")] = Field(
        0.5,
        ge=0,
        lt=1,
        description="Drop this share of the features at random in every step. Raise it where the head overfits.",
    )
    max_epochs: Annotated[int, Shown("Training")] = Field(
        100,
        ge=1,
        le=10_000,
        description="Train for this many epochs at most. For a linear head on features, an epoch is one of 13 strengths of "
        "regularisation.",
    )
    patience: Annotated[int, Shown("Training")] = Field(
        8, ge=1, le=10_000, description="Stop after this many epochs without a lower validation loss."
    )
    batch_size: Annotated[int, Shown("Training")] = Field(
        64, ge=1, le=65_536, description="Train on this many photos in one step. Use fewer where memory runs out."
    )
    learning_rate: Annotated[float, Shown("Training")] = Field(
        1e-3,
        gt=0,
        le=10,
        allow_inf_nan=False,
        description="Train with a learning rate of at most this value. Lower it where the loss diverges.",
    )
    schedule: Annotated[Literal["constant", "plateau", "cosine"], Shown("Training")] = Field(
        "constant",
        description="Change the learning rate in this way: constant keeps it, plateau divides it by three after half the patience, "
        "and cosine lowers it to zero over all epochs.",
    )
    warmup_epochs: Annotated[float, Shown("Training")] = Field(
        0,
        ge=0,
        le=100,
        description="Raise the learning rate from zero over this many epochs. Use it where first steps spoil trained layers.",
    )
    weight_decay: Annotated[float, Shown("Training")] = Field(
        0,
        ge=0,
        le=1,
        description="Use this weight decay in AdamW. Biases and normalization layers are not decayed.",
    )
    label_smoothing: Annotated[float, Shown("Training")] = Field(
        0,
        ge=0,
        lt=1,
        description="Spread this share of each label over all classes. Use it where some labels are wrong.",
    )
    average_decay: Annotated[float, Shown("Training")] = Field(
        0,
        ge=0,
        lt=1,
        description="Keep a moving average of the weights with this decay, in place of the weights themselves; 0 turns it "
        "off.",
    )
    batch_norm: Annotated[Literal["frozen", "trained"], Shown("Training")] = Field(
        "frozen",
        description="Treat batch normalizations in this way: frozen keeps their statistics, trained takes those of the batches "
        "and estimates them again over the training photos at the end.",
    )
    class_weights: Annotated[bool, Shown("Training")] = Field(
        False,
        description="Let every class count the same, however few photos it has. Use it where rare classes matter.",
    )
    unfreeze_from: Annotated[str | None, Shown("Training", metavar="LAYER")] = Field(
        None,
        description="Train this layer or block, such as block_13, and all layers after it. Begin earlier where the photos "
        "differ from those that the backbone was trained on.",
    )
    time_budget_s: Annotated[float | None, Shown("Training", "--time-budget", "TIME")] = Field(
        None,
        gt=0,
        description="Choose the cut and the number of epochs so that the training ends within this time, such as 5m or 90s.",
    )
    augment: Annotated[Augmentation, Shown("Photos")] = Field(
        PRESETS["none"],
        description="Change training photos at random: none, light, strong or randaugment. Single settings may follow, as in "
        "light,rotation_degrees=20.",
    )
    views: Annotated[int, Shown("Photos")] = Field(
        0,
        ge=0,
        le=100,
        description="Compute this many augmented views of each photo before the training. More of them help where photos "
        "are few.",
    )
    mixup_alpha: Annotated[float, Shown("Photos")] = Field(
        0,
        ge=0,
        le=10,
        description="Blend pairs of photos by MixUp, with this parameter of its beta distribution; 0 turns it off.",
    )
    cutmix_alpha: Annotated[float, Shown("Photos")] = Field(
        0,
        ge=0,
        le=10,
        description="Paste a part of one photo into another by CutMix, with this parameter of its beta distribution; "
        "0 turns it off.",
    )
    mixed_precision: Annotated[bool, Shown("Machine")] = Field(
        False, description="Compute in float16 on a GPU, which is faster and takes less memory."
    )
    strategy: Annotated[Literal["none", "mirrored", "multi-worker"], Shown("Machine")] = Field(
        "none",
        description="Run the training on these devices: none is one device, mirrored is all GPUs of this machine, and "
        "multi-worker is the machines that TF_CONFIG names.",
    )


HEAD = Recipe()
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        HEAD,
        Recipe(
            name="finetune", method="cut", max_epochs=12, patience=12, batch_size=32, learning_rate=3e-4,
            schedule="cosine", warmup_epochs=1, weight_decay=0.01, label_smoothing=0.1, average_decay=0.99,
            augment=PRESETS["light"], views=4, unfreeze_from="block_13",
        ),
        Recipe(
            name="best", method="whole", max_epochs=14, patience=14, batch_size=32, learning_rate=3e-4,
            schedule="cosine", warmup_epochs=1, weight_decay=0.01, label_smoothing=0.1, average_decay=0.995,
            augment=PRESETS["light"],
        ),
        Recipe(
            name="scratch", method="whole", max_epochs=5, patience=5, batch_size=64, schedule="cosine", warmup_epochs=0.5,
            weight_decay=0.01, batch_norm="trained",
        ),
    )
}  # fmt: skip


_OF_NETWORKS = (
    "schedule", "warmup_epochs", "weight_decay", "average_decay", "batch_norm", "mixed_precision", "strategy",
    "unfreeze_from", "time_budget_s", "mixup_alpha", "cutmix_alpha",
)  # fmt: skip
# A recipe must not set fields that its method does not read.
UNREAD_BY_METHOD: dict[str, tuple[str, ...]] = {
    "features": _OF_NETWORKS,
    "cut": ("mixup_alpha", "cutmix_alpha"),
    "whole": ("views",),
}
# A head without hidden layers has one best solution for each strength of regularisation.
_OF_STEPS = ("learning_rate", "batch_size", "dropout")


def unread_fields(recipe: Recipe) -> tuple[str, ...]:
    """Name the fields that the recipe's method does not read."""
    return (*UNREAD_BY_METHOD[recipe.method], *unread_steps(recipe))


def without_unread(recipe: Recipe) -> Recipe:
    """Return a copy of the recipe in which each field that its method does not read has the default value.

    ``resolve`` refuses a recipe that sets such a field to another value."""
    return recipe.model_copy(update={key: getattr(HEAD, key) for key in unread_fields(recipe)})


def unread_steps(recipe: Recipe) -> tuple[str, ...]:
    """Name the fields that only gradient steps read, if the recipe trains without such steps."""
    return _OF_STEPS if recipe.method == "features" and recipe.head == LINEAR else ()
