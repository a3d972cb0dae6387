"""From a recipe and images to a bundle that can be served."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.calibration import calibrate
from training.data.augment import augmented_batch
from training.data.cohort import FOLDER, TABLE, Cohort
from training.data.conditions import PLAIN, RESTYLED, STRESSED, Condition, conditions, view_of, with_views
from training.data.radiographs import targets
from training.evaluation.evaluate import BOOTSTRAP, SEED, subgroups
from training.evaluation.metrics import LabelledScores, auc, measure, with_intervals
from training.evaluation.scoring import labelled_scores
from training.export import card
from training.export.litert import REPRESENTATIVE, parity, to_int8
from training.fit.crossfit import (
    Logits,
    Workspace,
    distilled_targets,
    fold_model,
    load_or_train,
    out_of_fold,
    select_examples,
)
from training.fit.fitting import TrainingPlan
from training.fit.history import HISTORY, PLOT, plot_history, read_history, write_history
from training.network.architectures import HEAD, multiply_adds
from training.recipe import Recipe
from worker.inference.bundle import RUNTIME_FILES, Bundle
from worker.inference.classifier import Scores
from worker.inference.runtime import LiteRtRuntime
from worker.inference.second_look import VIEWS, SecondLook
from worker.inference.triage import OperatingPoint

_SERVED, _REFERENCE = RUNTIME_FILES["litert"], RUNTIME_FILES["tensorflow"]
# Of the metrics that are shown fold by fold.
_SPREAD = ("auc", "accuracy", "specificity", "recall", "three_class_accuracy")


@dataclass(frozen=True)
class TrainedModel:
    """What a training gave.

    Attributes:
        model: of all images: the reference network, its biases calibrated.
        quantised: what quantisation does to a network that did not see the images it is measured on.
        calibration: of the logits before that; `temperature` is what the model's own need.
        history: one entry an epoch of its training.
        look: which images are looked at again.
        first: calibrated, out of fold, by trial: what the first look alone says.
        scores: the same with the second look, as it is served.
        said: for the card.
    """

    model: keras.Model
    quantised: dict[str, Any]
    calibration: calibrate.Calibration
    history: list[dict[str, float]]
    look: SecondLook | None
    first: dict[str, LabelledScores]
    scores: dict[str, LabelledScores]
    said: dict[str, Any]


def train_model(recipe: Recipe, cohort: Cohort, start: keras.Model | None, work: Workspace) -> TrainedModel:
    """Train on all folds but one for each, calibrate on the rest, and train on all.

    Args:
        recipe: all choices.
        cohort: the images.
        start: a network that is tuned further, or None.
        work: where what is done is kept, and how the machine may be used.
    """
    course = TrainingPlan(recipe.network, recipe.fit, recipe.sampling, recipe.augment, start)
    tried = conditions(recipe, cohort)
    labels = _labels(recipe, cohort, tried, work)
    found = out_of_fold("student", course, cohort, labels, with_views(tried), work)
    calibration = _calibration(recipe, cohort, found, tried)
    first = _scored(cohort, found, tried, calibration, None)
    look = calibrate.second_look(_pooled(first, cohort).p, recipe.calibrate)
    work.say("all images")
    last = load_or_train(
        "final", course, select_examples(cohort, labels, np.ones(len(cohort), dtype=bool)), work
    )
    one = fold_model("student", course, cohort, labels, 0, work)
    return TrainedModel(
        calibrated(last.model, calibration),
        _quantised(recipe, cohort, calibrated(one, calibration), calibration.temperature, tried),
        calibration,
        read_history(last.history),
        look,
        first,
        _scored(cohort, found, tried, calibration, look),
        {
            "seed": recipe.fit.seed,
            "finished": time.strftime("%Y-%m-%d", time.gmtime()),
            "images": len(cohort),
            "patients": len({each.patient for each in cohort.radiographs}),
            "turned_away": len(cohort.turned_away),
            "parameters": int(last.model.count_params()),
            "multiply_adds": multiply_adds(last.model),
        },
    )


def write_bundle(
    recipe: Recipe, cohort: Cohort, made: TrainedModel, out: Path, *, preliminary: bool
) -> dict[str, Any]:
    """Export, choose operating points, measure, and write a bundle.

    Args:
        recipe: what the model was made by.
        cohort: the images it was made of.
        made: what the training gave.
        out: the bundle's folder; made if it is not there.
        preliminary: whether the card warns that the model is not the recipe's whole work.

    Returns:
        The card, less the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    made.model.save(out / _REFERENCE)
    (out / _SERVED).write_bytes(to_int8(made.model, representative(recipe, cohort)))
    chosen_on = _pooled(made.scores, cohort)
    points = calibrate.operating_points(chosen_on.pneumonia, chosen_on.p, recipe.calibrate)
    sets = _sets(recipe, cohort, made.scores)
    point = points[recipe.calibrate.default]
    described = card.describe(
        recipe,
        points=points,
        temperature=made.calibration.temperature,
        metrics={name: _measured(*each, point) for name, each in sets.items()}
        | {"quantisation": made.quantised},
        training=made.said,
        preliminary=preliminary,
        data={"trained_on": _trained_on(recipe, cohort)},
        sections={
            "curves": card.curve_points({name: scored for name, (scored, _) in sets.items()}),
            "spread": {name: _spread(*each, point) for name, each in sets.items()},
            **_second_look(recipe, cohort, made, point),
        },
    )
    write_history(out / HISTORY, made.history)
    plot_history(out / PLOT, made.history)
    card.plot_roc(out / "roc.png", {name: scored for name, (scored, _) in sets.items()}, points)
    card.plot_reliability(out / "reliability.png", {name: scored for name, (scored, _) in sets.items()})
    card.write_card(out, described, (_SERVED, _REFERENCE))
    return described


def reference(bundle: Bundle) -> keras.Model:
    """Load a bundle's reference network."""
    return keras.saving.load_model(bundle.file("tensorflow"), compile=False)


def calibrated(model: keras.Model, calibration: calibrate.Calibration) -> keras.Model:
    """The same network with the calibration's biases in its last layer; the temperature stays outside."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    head = copy.get_layer(HEAD)
    kernel, bias = head.get_weights()
    head.set_weights([kernel, bias + calibration.bias])
    return copy


def representative(recipe: Recipe, cohort: Cohort) -> NDArray[np.uint8]:
    """Augmented training inputs: the ranges of what a server may be sent, not only of clean images."""
    rng = np.random.default_rng(recipe.fit.seed)
    chosen = rng.choice(len(cohort), min(REPRESENTATIVE, len(cohort)), replace=False)
    seed = (recipe.fit.seed, REPRESENTATIVE)
    return augmented_batch(cohort.grey, chosen, recipe.network.side, recipe.stress, seed)


def _labels(
    recipe: Recipe, cohort: Cohort, tried: Mapping[str, Condition], work: Workspace
) -> NDArray[np.float32]:
    """What is to be learnt of each image: what the data set says, and what the teacher thinks of it."""
    known = targets(cohort.radiographs)
    teacher = recipe.teacher
    if teacher is None:
        return known
    course = TrainingPlan(teacher.network, teacher.fit, recipe.sampling, recipe.augment)
    opinion = out_of_fold("teacher", course, cohort, known, tried, work)
    return distilled_targets(cohort, opinion, tried, teacher.share, teacher.temperature)


def _calibration(
    recipe: Recipe, cohort: Cohort, found: Logits, tried: Mapping[str, Condition]
) -> calibrate.Calibration:
    """On the folder's images, each trial counting alike, at the prevalence that the recipe states."""
    logits, known, weights = [], [], []
    for name, trial in tried.items():
        chosen = cohort.source[trial.of] == FOLDER
        radiographs = [cohort.radiographs[i] for i in trial.of[chosen]]
        pneumonia = np.array([each.pneumonia for each in radiographs])
        logits.append(found[name][chosen])
        known.append(targets(radiographs))
        balanced = calibrate.prevalence_weights(pneumonia, recipe.calibrate.prevalence)
        weights.append(balanced / balanced.sum())
    return calibrate.calibrate(np.concatenate(logits), np.concatenate(known), np.concatenate(weights))


def _scored(
    cohort: Cohort,
    found: Logits,
    tried: Mapping[str, Condition],
    calibration: calibrate.Calibration,
    look: SecondLook | None,
) -> dict[str, LabelledScores]:
    scored = {}
    for name, trial in tried.items():
        p = calibration.probabilities(found[name])
        if look is not None:
            wanted = look.selects(1 - p[:, 0])
            looks = [found[name], *(found[view_of(name, view)] for view in VIEWS)]
            p[wanted] = calibration.probabilities(np.mean(looks, axis=0)[wanted])
        radiographs = [cohort.radiographs[i] for i in trial.of]
        scored[name] = labelled_scores(radiographs, Scores(p, np.zeros((len(p), 0, 0), np.uint8)))
    return scored


def _pooled(scores: Mapping[str, LabelledScores], cohort: Cohort) -> LabelledScores:
    """The folder's images of all trials, each trial as often as every other."""
    parts = []
    most = max(len(each) for each in scores.values())
    for scored in scores.values():
        folder = np.tile(cohort.source, len(scored) // len(cohort)) == FOLDER
        parts.append(scored.at(np.tile(np.flatnonzero(folder), most // len(scored))))
    return LabelledScores(
        *(
            np.concatenate([getattr(each, name) for each in parts])
            for name in LabelledScores.__dataclass_fields__
        )
    )


def _sets(
    recipe: Recipe, cohort: Cohort, scores: Mapping[str, LabelledScores]
) -> dict[str, tuple[LabelledScores, Cohort]]:
    """What is measured, by its name on the card, with the images it was made of."""
    suffix = {PLAIN: "", STRESSED: "_stressed", RESTYLED: "_restyled"}
    sources = {FOLDER: recipe.data.folder, TABLE: recipe.data.table}
    sets = {}
    for source in np.unique(cohort.source):
        part = cohort.at(cohort.source == source)
        for name, scored in scores.items():
            repeats = len(scored) // len(cohort)
            chosen = np.tile(cohort.source == source, repeats)
            sets[f"{sources[int(source)].called}{suffix[name]}"] = (scored.at(chosen), part)
    return sets


def _second_look(recipe: Recipe, cohort: Cohort, made: TrainedModel, point: OperatingPoint) -> dict[str, Any]:
    """Which images are looked at again, and what it changes, by the name of the set."""
    if made.look is None:
        return {}
    said: dict[str, Any] = {**asdict(made.look), "views": list(VIEWS)}
    after = _sets(recipe, cohort, made.scores)
    for name, (first, _) in _sets(recipe, cohort, made.first).items():
        once, twice = (measure(each, point.threshold) for each in (first, after[name][0]))
        said[name] = {"looked_at_again": float(made.look.selects(first.p).mean())}
        for metric in ("auc", "accuracy", "specificity", "recall"):
            said[name] |= {f"{metric}_at_first": once[metric], metric: twice[metric]}
    return {"second_look": said}


def _measured(scored: LabelledScores, part: Cohort, point: OperatingPoint) -> dict[str, Any]:
    figures = with_intervals(scored, point.threshold, BOOTSTRAP, SEED)
    said = {
        "n": len(scored),
        "patients": len(np.unique(scored.patient)),
        "prevalence": float(scored.pneumonia.mean()),
        **figures,
    }
    groups = subgroups(part.radiographs, scored, point, BOOTSTRAP) if len(part) == len(scored) else {}
    return said | ({"subgroups": groups} if groups else {})


def _spread(scored: LabelledScores, part: Cohort, point: OperatingPoint) -> dict[str, Any]:
    """Over the folds, each of which had a seed of its own."""
    fold = np.tile(part.fold, len(scored) // len(part))
    measured = [measure(scored.at(fold == number), point.threshold) for number in np.unique(fold)]
    found = {name: [each[name] for each in measured] for name in _SPREAD}
    return {
        name: _described([value for value in values if value is not None])
        for name, values in found.items()
        if None not in values
    }


def _described(values: list[float]) -> dict[str, Any]:
    rounded = [round(value, 4) for value in values]
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": rounded}


def _quantised(
    recipe: Recipe, cohort: Cohort, model: keras.Model, temperature: float, tried: Mapping[str, Condition]
) -> dict[str, Any]:
    """What int8 costs: the first fold's network on the patients it was not shown."""
    held = np.flatnonzero((cohort.fold[tried[PLAIN].of] == 0) & (cohort.source == FOLDER))
    inputs = tried[PLAIN].inputs[held]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _SERVED
        path.write_bytes(to_int8(model, representative(recipe, cohort.at(cohort.fold != 0))))
        served = LiteRtRuntime(path).run(inputs)
    compared = parity(model, served, inputs)
    pneumonia = np.array([cohort.radiographs[i].pneumonia for i in held])
    exact = model.predict(inputs[..., np.newaxis].astype(np.float32), batch_size=64, verbose=0)
    before, after = (_p(each, temperature) for each in (exact, served))
    return {
        **asdict(compared),
        "auc_float": auc(pneumonia, before),
        "auc_int8": auc(pneumonia, after),
    }


def _p(evidence: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    neutral = calibrate.Calibration(temperature, np.zeros(3))
    return 1 - neutral.probabilities(evidence.astype(np.float64).mean(axis=(1, 2)))[:, 0]


def _trained_on(recipe: Recipe, cohort: Cohort) -> list[dict[str, Any]]:
    sources = (recipe.data.folder, recipe.data.table)
    return [sources[int(source)].model_dump(exclude={"called"}) for source in np.unique(cohort.source)]
