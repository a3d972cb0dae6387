"""Scores of images by networks that were not shown their patients.

Calibration, operating points and every figure on the card come from these, since what a network
says of patients that it was trained on says nothing.
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

Say = Callable[[str], None]
Logits = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Workspace:
    """Where a training keeps what is done, and how it may use the machine.

    Attributes:
        folder: for states and results; a training that was killed goes on from there.
        say: takes a line of progress for a person.
        cpu_limit: per cent of all cores, or None.
    """

    folder: Path
    say: Say
    cpu_limit: float | None = None


@dataclass(frozen=True)
class Trained:
    """A network of the work folder, and the table of how its training went."""

    model: keras.Model
    history: Path


def out_of_fold(
    name: str,
    course: TrainingPlan,
    cohort: Cohort,
    labels: NDArray[np.float32],
    trials: Mapping[str, Condition],
    work: Workspace,
) -> Logits:
    """Train once for each fold, without its patients, and score them.

    Each fold has a seed of its own, so that the spread over the folds is also one over seeds.

    Args:
        name: of the files in the work folder.
        course: what is taught.
        cohort: the images.
        labels: what is to be learnt of each, shape (n, 3), each row adding up to 1.
        trials: what is to be scored, by name.
        work: where and how.

    Returns:
        By name of the trial, logits of shape (m, 3).
    """
    scores = {key: np.full((len(trial.of), 3), np.nan) for key, trial in trials.items()}
    folds = int(cohort.fold.max()) + 1
    for number in range(folds):
        work.say(f"{name}: fold {number + 1} of {folds}")
        model = fold_model(name, course, cohort, labels, number, work)
        for key, trial in trials.items():
            held = cohort.fold[trial.of] == number
            scores[key][held] = logits(model, trial.inputs[held])
    return scores


def fold_model(
    name: str, course: TrainingPlan, cohort: Cohort, labels: NDArray[np.float32], number: int, work: Workspace
) -> keras.Model:
    """The network that was not shown one fold, trained unless it lies in the work folder already."""
    seeded = course.seeded(course.fit.seed + number)
    shown = select_examples(cohort, labels, cohort.fold != number)
    return load_or_train(f"{name}-{number + 1}", seeded, shown, work).model


def load_or_train(name: str, course: TrainingPlan, shown: Examples, work: Workspace) -> Trained:
    """A network, trained unless it lies in the work folder already, with its history and a plot of it."""
    kept = work.folder / f"{name}-{fingerprint(course, shown)[:16]}.keras"
    history = kept.with_name(f"{kept.stem}-{HISTORY}")
    if kept.is_file() and history.is_file():
        work.say(f"{kept.name} is there already")
        return Trained(keras.saving.load_model(kept, compile=False), history)
    state = work.folder / f"{name}-state"
    fitted = fit(course, shown, state, work.say, work.cpu_limit)
    part = kept.with_name(f"part-{kept.name}")
    fitted.model.save(part)
    write_history(history, fitted.history)
    plot_history(kept.with_name(f"{kept.stem}-{PLOT}"), fitted.history)
    # The network last: where it is, all of it is.
    part.replace(kept)
    discard_state(state)
    return Trained(fitted.model, history)


def select_examples(cohort: Cohort, labels: NDArray[np.float32], chosen: NDArray[np.bool_]) -> Examples:
    """The images that may be learnt from."""
    return Examples(
        cohort.grey[chosen], cohort.inputs[chosen], labels[chosen], cohort.source[chosen] == TABLE
    )


def logits(model: keras.Model, inputs: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a network says of model inputs (m, side, side): the mean over the places, shape (m, 3)."""
    evidence = model.predict(inputs[..., np.newaxis].astype(np.float32), batch_size=64, verbose=0)
    return np.asarray(np.mean(evidence, axis=(1, 2), dtype=np.float64))


def distilled_targets(
    cohort: Cohort, scores: Logits, trials: Mapping[str, Condition], share: float, temperature: float
) -> NDArray[np.float32]:
    """Labels mixed with a teacher's opinion (distillation, Hinton et al., 2015), shape (n, 3).

    Args:
        cohort: the images.
        scores: the teacher's logits, out of fold, so that it has not seen what it speaks of.
        trials: what they were made of.
        share: of the teacher in the mixture.
        temperature: what the teacher's logits are divided by.
    """
    summed = np.zeros((len(cohort), 3))
    for key, trial in trials.items():
        np.add.at(summed, trial.of, scores[key])
    counts = np.bincount(np.concatenate([trial.of for trial in trials.values()]), minlength=len(cohort))
    scaled = summed / counts[:, np.newaxis] / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    opinion = powers / powers.sum(axis=1, keepdims=True)
    mixed = (1 - share) * targets(cohort.radiographs) + share * opinion
    return np.asarray(mixed, dtype=np.float32)
