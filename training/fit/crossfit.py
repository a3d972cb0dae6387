"""Out-of-fold scores: each image is scored by a network that was not trained on its patient.

Calibration, operating points and every figure on the card come from these scores. A score of a patient
that the network was trained on says nothing about new patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from training.data.cohort import TABLE, Cohort
from training.data.conditions import Condition
from training.data.radiographs import targets
from training.fit.callbacks import discard_state
from training.fit.fitting import Examples, TrainingPlan, fingerprint, fit
from training.fit.history import HISTORY, PLOT, plot_history, write_history
from worker.inference.softmax import softmax

PrintLine = Callable[[str], None]
Logits = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Workspace:
    """The folder of a training's intermediate results, and its limits.

    Attributes:
        folder: for states and results; an interrupted training continues from it.
        print_line: called with each line of progress.
        cpu_limit: per cent of all cores, or None.
    """

    folder: Path
    print_line: PrintLine
    cpu_limit: float | None = None


@dataclass(frozen=True)
class Trained:
    """A network of the workspace, and the path of its history."""

    model: keras.Model
    history: Path


def out_of_fold(
    name: str,
    plan: TrainingPlan,
    cohort: Cohort,
    labels: NDArray[np.float32],
    conditions: Mapping[str, Condition],
    work: Workspace,
) -> Logits:
    """Train one network for each fold, without its patients, and score them.

    Each fold has its own seed, so the spread over folds includes the spread over seeds.

    Args:
        name: prefix of the files in the workspace.
        plan: the choices for the training.
        cohort: the images.
        labels: training targets, shape (n, 3); each row sums to 1.
        conditions: the inputs to score, by name.
        work: the workspace.

    Returns:
        Logits of shape (m, 3), by the name of the condition.
    """
    scores = {key: np.full((len(condition.of), 3), np.nan) for key, condition in conditions.items()}
    folds = int(cohort.fold.max()) + 1
    for number in range(folds):
        work.print_line(f"{name}: fold {number + 1} of {folds}")
        model = fold_model(name, plan, cohort, labels, number, work)
        for key, condition in conditions.items():
            held = cohort.fold[condition.of] == number
            scores[key][held] = logits(model, condition.inputs[held])
    return scores


def fold_model(
    name: str, plan: TrainingPlan, cohort: Cohort, labels: NDArray[np.float32], number: int, work: Workspace
) -> keras.Model:
    """Return the network that was not trained on one fold, from the workspace or newly trained."""
    seeded = plan.seeded(plan.fit.seed + number)
    examples = select_examples(cohort, labels, cohort.fold != number)
    return load_or_train(f"{name}-{number + 1}", seeded, examples, work).model


def load_or_train(name: str, plan: TrainingPlan, examples: Examples, work: Workspace) -> Trained:
    """Return a network, its history and a plot of it, from the workspace or newly trained."""
    path = work.folder / f"{name}-{fingerprint(plan, examples)[:16]}.keras"
    history = path.with_name(f"{path.stem}-{HISTORY}")
    if path.is_file() and history.is_file():
        work.print_line(f"{path.name} exists already")
        return Trained(keras.saving.load_model(path, compile=False), history)
    state = work.folder / f"{name}-state"
    fitted = fit(plan, examples, state, work.print_line, work.cpu_limit)
    partial = path.with_name(f"part-{path.name}")
    fitted.model.save(partial)
    write_history(history, fitted.history)
    plot_history(path.with_name(f"{path.stem}-{PLOT}"), fitted.history)
    # The network is written last: if it exists, everything exists.
    partial.replace(path)
    discard_state(state)
    return Trained(fitted.model, history)


def select_examples(cohort: Cohort, labels: NDArray[np.float32], chosen: NDArray[np.bool_]) -> Examples:
    """Return the chosen images as training examples."""
    return Examples(
        cohort.grey[chosen],
        cohort.inputs[chosen],
        cohort.parts[chosen],
        labels[chosen],
        cohort.source[chosen] == TABLE,
    )


def logits(model: keras.Model, inputs: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the logits of model inputs (m, side, side): the mean over the places, shape (m, 3)."""
    return np.asarray(np.mean(evidence(model, inputs), axis=(1, 2), dtype=np.float64))


def evidence(model: keras.Model, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits of model inputs (m, side, side) at each place, shape (m, h, w, 3)."""
    return np.asarray(model.predict(inputs[..., np.newaxis].astype(np.float32), batch_size=64, verbose=0))


def distilled_targets(
    cohort: Cohort, scores: Logits, conditions: Mapping[str, Condition], share: float, temperature: float
) -> NDArray[np.float32]:
    """Return labels mixed with the scores of a teacher (distillation, Hinton et al., 2015), shape (n, 3).

    Args:
        cohort: the images.
        scores: logits of the teacher, out of fold.
        conditions: the inputs that it scored.
        share: weight of the teacher in the mixture.
        temperature: divisor of the teacher's logits.
    """
    summed = np.zeros((len(cohort), 3))
    for key, condition in conditions.items():
        np.add.at(summed, condition.of, scores[key])
    counts = np.bincount(
        np.concatenate([condition.of for condition in conditions.values()]), minlength=len(cohort)
    )
    scaled = summed / counts[:, np.newaxis] / temperature
    mixed = (1 - share) * targets(cohort.radiographs) + share * softmax(scaled)
    return np.asarray(mixed, dtype=np.float32)
