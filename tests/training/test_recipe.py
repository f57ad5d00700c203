"""A recipe is resolved before anything starts: by name or file, every number checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tledge.errors import InputError
from tledge.training.augmentation_settings import PRESETS
from tledge.training.recipe import RECIPES
from tledge.training.resolve import default, resolve, to_toml


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_keeps_its_own_rules_and_survives_a_file(name: str, tmp_path: Path) -> None:
    recipe = resolve(name, {})
    assert recipe == RECIPES[name]
    path = tmp_path / f"{name}.toml"
    path.write_text(to_toml(recipe))
    assert resolve(str(path), {}) == recipe


def test_a_file_starts_from_its_base_and_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "finetune"\nlearning_rate = 0.01\naugment = "strong"\n')
    recipe = resolve(str(path), {"learning_rate": 0.02, "views": None})
    assert (recipe.name, recipe.method, recipe.learning_rate) == ("mine", "cut", 0.02)
    assert recipe.augment == RECIPES["head"].augment.model_validate(
        {**recipe.augment.as_json(), "rotation_degrees": 40}
    )
    assert recipe.views == RECIPES["finetune"].views


def test_a_flip_is_a_setting_of_its_own() -> None:
    recipe = resolve("finetune", {"horizontal_flip": False})
    assert not recipe.augment.horizontal_flip
    assert recipe.augment.rotation_degrees == RECIPES["finetune"].augment.rotation_degrees
    assert resolve("finetune", {"augment": "none", "horizontal_flip": True}).augment.horizontal_flip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learningrate = 1", "Did you mean 'learning_rate'"),
        ('base = "heda"', "Did you mean 'head'"),
        ("max_epochs = 0", "mine.toml: max_epochs 0: input should be greater than or equal to 1"),
        ('augment = "strnog"', "Did you mean 'strong'"),
        ("[augment]\nrotation_degree = 3", "mine.toml 'rotation_degree'. Did you mean 'rotation_degrees'?"),
        ("[augment]\nrotation_degrees = 181", "mine.toml: augment.rotation_degrees 181: input should be less"),
        ("max_epochs = [", "no readable TOML file"),
        ('head = "mlp:"', "use linear, or mlp:UNITS"),
        ('base = "finetune"\nviews = 0', "say with --views how many"),
        ('base = "finetune"\naugment = "none"\nviews = 4', "mine.toml: views: the views would all be alike"),
        ("views = 3", "mine.toml: views: the views would all be alike"),
        ('augment = "light"', "say with --views how many"),
        ("weight_decay = 0.1", "mine.toml: weight_decay: recipe mine trains the head alone"),
        ("time_budget_s = 60", "trains the head alone"),
        ('base = "finetune"\nmixup_alpha = 0.2', "Use --recipe best"),
        ("learning_rate = 0.1", "mine.toml: learning_rate: recipe mine finds the one best linear head, without steps"),
        ("dropout = 0\nbatch_size = 8", "mine.toml: dropout: recipe mine finds the one best"),
    ],
)
def test_a_recipe_that_says_nothing_good_is_an_error_that_names_it(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        resolve(str(path), {})
    assert said in str(raised.value)


def test_what_only_steps_read_is_for_heads_that_take_steps() -> None:
    given = {"learning_rate": 0.1, "dropout": 0.2, "batch_size": 8}
    with pytest.raises(InputError, match=r"--learning-rate, --batch-size, --dropout: .* Drop it, or .* --head mlp:256"):
        resolve("head", given)
    for name, head in (("head", "mlp:8"), ("finetune", "linear")):
        assert resolve(name, {**given, "head": head}).learning_rate == 0.1
    assert (
        resolve("head", {"label_smoothing": 0.2, "class_weights": True, "max_epochs": 5, "patience": 1}).patience == 1
    )


def test_a_missing_file_and_an_unknown_name_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        resolve(str(tmp_path / "none.toml"), {})
    with pytest.raises(InputError, match="Did you mean 'finetune'"):
        resolve("finetnue", {})


@pytest.mark.parametrize(
    ("handle", "weights", "augment", "name"),
    [
        ("bundled", None, None, "head"),
        ("bundled", None, "none", "head"),
        ("bundled", None, "strong", "finetune"),
        ("lenet", None, None, "scratch"),
        ("lenet", None, "strong", "scratch"),
        ("keras:VGG16", None, None, "head"),
        ("keras:VGG16", "none", None, "scratch"),
    ],
)
def test_the_recipe_that_nobody_named_follows_from_the_backbone_and_from_augmentation(
    handle: str, weights: str | None, augment: str | None, name: str
) -> None:
    assert default(handle, weights, augment) == name


def test_a_head_may_be_trained_on_augmented_views() -> None:
    recipe = resolve("head", {"augment": "light", "views": 4})
    assert (recipe.method, recipe.views, recipe.augment) == ("features", 4, PRESETS["light"])


def test_without_augmentation_there_are_no_views_unless_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "finetune"\naugment = "none"\n')
    for recipe in (resolve("finetune", {"augment": "none"}), resolve(str(path), {})):
        assert (recipe.method, recipe.views, recipe.augment) == ("cut", 0, PRESETS["none"])
    with pytest.raises(InputError, match="^--views: the views would all be alike"):
        resolve("finetune", {"augment": "none", "views": 4})


def test_numbers_of_an_augmentation_may_follow_its_name() -> None:
    recipe = resolve("finetune", {"augment": "light,rotation_degrees=20,zoom=0,vertical_flip=true"})
    changed = {"rotation_degrees": 20, "zoom": 0, "vertical_flip": True}
    assert recipe.augment == PRESETS["light"].model_copy(update=changed)
    assert resolve("finetune", {"augment": "none,shift=0.1"}).augment == PRESETS["none"].model_copy(
        update={"shift": 0.1}
    )


@pytest.mark.parametrize(
    ("augment", "reason"),
    [
        ("lihgt,zoom=0", "Did you mean 'light'"),
        ("light,zom=0", "number of --augment 'zom'. Did you mean 'zoom'"),
        ("light,zoom=1.5", "--augment light,zoom=1.5: zoom: input should be less than 1"),
        ("light,zoom", "zoom: input should be a valid number"),
        ("light,", "number of --augment ''"),
    ],
)
def test_a_wrong_number_of_an_augmentation_is_an_error_that_names_it(augment: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        resolve("finetune", {"augment": augment})
