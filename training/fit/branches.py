"""The networks of a model: one, or one that sees the lungs and one that sees the whole film. Their logits are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
from numpy.typing import NDArray

from training.data.augment import WHOLE
from training.data.cohort import Cohort
from training.data.conditions import Condition, conditions, with_views
from training.fit.crossfit import (
    Logits,
    Trained,
    Workspace,
    fold_model,
    load_or_train,
    out_of_fold,
    select_examples,
)
from training.fit.fitting import TrainingPlan
from training.recipe import Recipe
from worker.inference.lungs import WHOLE_SIDE, whole_film

_FOLD, _FINAL = "fold", "final"


@dataclass(frozen=True)
class Starts:
    """The networks to tune further; None: start from the weights that the recipe names."""

    network: keras.Model | None = None
    film: keras.Model | None = None


@dataclass(frozen=True)
class Branch:
    """A network of a model, and the images as it sees them.

    Attributes:
        prefix: of its files in the workspace.
        plan: the choices for its training.
        cohort: the images.
        by_condition: the inputs that its scores are of.
        labels: training targets, shape (n, 3); each row sums to 1.
    """

    prefix: str
    plan: TrainingPlan
    cohort: Cohort
    by_condition: Mapping[str, Condition]
    labels: NDArray[np.float32]

    def out_of_fold(self, work: Workspace) -> Logits:
        """Return the logits of every condition and view, each by a network that has not seen the patient."""
        return out_of_fold(
            self.prefix + _FOLD, self.plan, self.cohort, self.labels, with_views(self.by_condition), work
        )

    def of_fold(self, number: int, work: Workspace) -> keras.Model:
        """Return the network that was not trained on a fold."""
        return fold_model(self.prefix + _FOLD, self.plan, self.cohort, self.labels, number, work)

    def final(self, work: Workspace) -> Trained:
        """Return the network that was trained on all images."""
        everyone = np.ones(len(self.cohort), dtype=bool)
        examples = select_examples(self.cohort, self.labels, everyone)
        return load_or_train(self.prefix + _FINAL, self.plan, examples, work)


def branches(recipe: Recipe, cohort: Cohort, labels: NDArray[np.float32], starts: Starts) -> list[Branch]:
    """Return the networks of a recipe: first the one that every model has, then the film network if the recipe has one.

    Args:
        recipe: all choices.
        cohort: the images, cut to the lungs if the recipe does that.
        labels: training targets, shape (n, 3); each row sums to 1.
        starts: networks to tune further.
    """
    plan = TrainingPlan(recipe.network, recipe.fit, recipe.sampling, recipe.augment, starts.network)
    network = Branch("", plan, cohort, conditions(recipe, cohort), labels)
    if recipe.film is None:
        return [network]
    of_film = recipe.model_copy(
        update={
            "network": recipe.network.model_copy(update={"side": WHOLE_SIDE}),
            "augment": recipe.augment.model_copy(update=recipe.film.geometry()),
        }
    )
    films = whole_films(cohort)
    plan = replace(plan, network=of_film.network, augment=of_film.augment, start=starts.film)
    return [network, Branch("film-", plan, films, conditions(of_film, films), labels)]


def whole_films(cohort: Cohort) -> Cohort:
    """Return a cohort that was cut to the lungs with whole films as inputs."""
    return replace(
        cohort,
        inputs=np.stack([whole_film(field) for field in cohort.grey]),
        parts=np.tile(WHOLE, (len(cohort), 1)),
        finders=(),
    )


def averaged(logits: Sequence[Logits]) -> Logits:
    """Return the mean of the logits of several networks, by the name of the condition."""
    return {name: np.mean([each[name] for each in logits], axis=0) for name in logits[0]}
