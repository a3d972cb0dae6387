"""From a recipe and images to a model bundle."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.calibration import calibrate
from training.data.augment import WHOLE, augmented_batch
from training.data.cohort import FOLDER, TABLE, Cohort
from training.data.conditions import PLAIN, RESTYLED, STRESSED, Condition, conditions, view_of
from training.data.radiographs import targets
from training.evaluation.evaluate import BOOTSTRAP, SEED, subgroups
from training.evaluation.metrics import LabelledScores, auc, measure, with_intervals
from training.evaluation.scoring import labelled_scores
from training.export import card
from training.export.litert import REPRESENTATIVE, parity, to_int8, with_features
from training.export.splits_section import labelled, splits_section
from training.fit.branches import Branch, Starts, averaged, branches
from training.fit.crossfit import (
    Logits,
    Workspace,
    distilled_targets,
    evidence,
    out_of_fold,
)
from training.fit.fitting import TrainingPlan
from training.fit.history import HISTORY, PLOT, plot_history, read_history, write_history
from training.network.architectures import HEAD, multiply_adds
from training.recipe import Recipe
from training.splits.dividing import Split, find_splits
from training.splits.scoring import HeldOut, score_splits
from worker.inference.bundle import FILM_FILES, RUNTIME_FILES, Bundle
from worker.inference.classifier import Scores
from worker.inference.lungs import WHOLE_SIDE, LungFinder, whole_film
from worker.inference.runtime import LiteRtRuntime
from worker.inference.second_look import VIEWS, SecondLook
from worker.inference.triage import OperatingPoint

_SERVED, _REFERENCE = RUNTIME_FILES["litert"], RUNTIME_FILES["tensorflow"]
_SERVED_FILM, _REFERENCE_FILM = FILM_FILES["litert"], FILM_FILES["tensorflow"]
# The networks of a model by what they see, as the card names them, and their mean.
NETWORKS = ("lungs", "film", "both")
_OF_NETWORKS = ("auc", "recall", "specificity", "brier")
# Metrics whose spread over the folds the card shows.
_SPREAD = ("auc", "accuracy", "specificity", "recall", "three_class_accuracy")


@dataclass(frozen=True)
class NetworkScores:
    """Calibrated scores of one network: out of fold by condition, and of held-out images by split and condition."""

    of_folds: dict[str, LabelledScores]
    of_splits: dict[str, dict[str, LabelledScores]]


@dataclass(frozen=True)
class TrainedModel:
    """The result of a training.

    Attributes:
        model: the reference network, trained on all images, its biases calibrated.
        film: the same for the film network; None: the recipe has none.
        film_cohort: the images as the film network sees them; None: there is none.
        quantised: effects of quantisation, on images that the network did not see in training.
        calibration: of the logits before that. `temperature` is also that of the model's own logits.
        history: one entry an epoch of its training.
        look: the scores that get a second look.
        first: calibrated out-of-fold scores of the first look alone, by condition.
        networks: what each network says alone, and both, all without the second look; empty: there is one network.
        scores: the same with the second look, as the server computes them.
        splits: the held-out side of each split, by name.
        split_scores: calibrated scores of these, with the second look, by split and condition.
        facts: the section `training` of the card.
        by_condition: the inputs that the scores are of.
        fold_model: returns the network that was not trained on a fold, by the number of the fold.
    """

    model: keras.Model
    film: keras.Model | None
    film_cohort: Cohort | None
    quantised: dict[str, Any]
    calibration: calibrate.Calibration
    history: list[dict[str, float]]
    look: SecondLook | None
    first: dict[str, LabelledScores]
    networks: dict[str, NetworkScores]
    scores: dict[str, LabelledScores]
    splits: dict[str, HeldOut]
    split_scores: dict[str, dict[str, LabelledScores]]
    facts: dict[str, Any]
    by_condition: Mapping[str, Condition]
    fold_model: Callable[[int], keras.Model]


def train_model(recipe: Recipe, cohort: Cohort, starts: Starts, work: Workspace) -> TrainedModel:
    """Train the networks of each fold and each split, calibrate on their scores, and train on all images.

    Args:
        recipe: all choices.
        cohort: the images.
        starts: networks to tune further.
        work: the workspace.

    Raises:
        WrongInput: the recipe has splits, and a side of one has no image of a class.
    """
    splits = find_splits(recipe, cohort)
    networks = branches(recipe, cohort, _labels(recipe, cohort, work), starts)
    by_condition = networks[0].by_condition
    of_folds = [branch.out_of_fold(work) for branch in networks]
    of_splits = [_held_out(splits, branch, work) for branch in networks]
    logits, held_out = averaged(of_folds), _averaged(of_splits)
    calibration = _calibration(recipe, cohort, logits, by_condition, held_out)
    first = _scored(cohort, logits, by_condition, calibration, None)
    look = calibrate.second_look(_pooled(first, cohort).p, recipe.calibrate)
    work.print_line("all images")
    finals = [branch.final(work) for branch in networks]
    models = [calibrated(final.model, calibration) for final in finals]
    return TrainedModel(
        models[0],
        models[1] if len(models) > 1 else None,
        networks[1].cohort if len(models) > 1 else None,
        _quantised(recipe, networks, calibration, work),
        calibration,
        read_history(finals[0].history),
        look,
        first,
        _network_scores(cohort, by_condition, [*of_folds, logits], [*of_splits, held_out], calibration)
        if len(networks) > 1
        else {},
        _scored(cohort, logits, by_condition, calibration, look),
        held_out,
        _scored_splits(held_out, calibration, look),
        {
            "seed": recipe.fit.seed,
            "finished": time.strftime("%Y-%m-%d", time.gmtime()),
            "images": len(cohort),
            "patients": len({radiograph.patient for radiograph in cohort.radiographs}),
            "turned_away": len(cohort.rejected),
            "parameters": sum(int(model.count_params()) for model in models),
            "multiply_adds": sum(multiply_adds(model) for model in models),
        },
        by_condition,
        lambda number: networks[0].of_fold(number, work),
    )


def write_bundle(
    recipe: Recipe,
    cohort: Cohort,
    trained: TrainedModel,
    out: Path,
    *,
    finder: LungFinder | None,
    preliminary: bool,
) -> dict[str, Any]:
    """Export, choose operating points, measure, and write a bundle.

    Args:
        recipe: of the model.
        cohort: the images it was trained on.
        trained: of `train_model`.
        out: folder of the bundle, created if it does not exist.
        finder: as in `representative`.
        preliminary: whether the card warns that the model comes from a trial run.

    Returns:
        The card without its section `files`.
    """
    out.mkdir(parents=True, exist_ok=True)
    trained.model.save(out / _REFERENCE)
    (out / _SERVED).write_bytes(served(recipe, trained.model, representative(recipe, cohort, finder)))
    files = [_SERVED, _REFERENCE]
    if trained.film is not None and trained.film_cohort is not None:
        trained.film.save(out / _REFERENCE_FILM)
        inputs = representative(recipe, trained.film_cohort, None, WHOLE_SIDE)
        (out / _SERVED_FILM).write_bytes(to_int8(trained.film, inputs))
        files += [_SERVED_FILM, _REFERENCE_FILM]
    chosen_on = _pooled(trained.scores, cohort)
    worst_of = _conditions(recipe, cohort, trained)
    points = calibrate.operating_points(
        chosen_on.pneumonia, chosen_on.p, recipe.calibrate, list(worst_of.values())
    )
    sets = _sets(recipe, cohort, trained.scores)
    point = points[recipe.calibrate.default]
    curves = card.curve_points({name: scored for name, (scored, _) in sets.items()})
    described = card.describe(
        recipe,
        points=points,
        temperature=trained.calibration.temperature,
        metrics={name: _measured(*image_set, point) for name, image_set in sets.items()}
        | {"quantisation": trained.quantised},
        training=trained.facts,
        preliminary=preliminary,
        data={"trained_on": _sources(recipe, cohort)},
        sections={
            "curves": curves,
            "spread": {name: _spread(*image_set, point) for name, image_set in sets.items()},
            **_networks(recipe, cohort, trained, point),
            **_second_look(recipe, cohort, trained, point),
            **_splits(trained, worst_of, points, point),
        },
    )
    write_history(out / HISTORY, trained.history)
    plot_history(out / PLOT, trained.history)
    card.plot_roc(out / "roc.png", curves, points)
    card.plot_reliability(out / "reliability.png", curves)
    card.write_card(out, described, files)
    return described


def reference(bundle: Bundle) -> keras.Model:
    """Load the reference network of a bundle."""
    return keras.saving.load_model(bundle.file("tensorflow"), compile=False)


def film_reference(bundle: Bundle) -> keras.Model | None:
    """Load the reference of a bundle's film network; None: it has none."""
    path = bundle.film_file("tensorflow")
    return None if path is None else keras.saving.load_model(path, compile=False)


def served(recipe: Recipe, model: keras.Model, inputs: NDArray[np.uint8]) -> bytes:
    """Return the file that the worker runs: with the network's features if the recipe measures distances in them.

    `inputs` are those of `representative`.
    """
    return to_int8(model if recipe.distance is None else with_features(model), inputs)


def calibrated(model: keras.Model, calibration: calibrate.Calibration) -> keras.Model:
    """Return the network with the biases of the calibration in its last layer, but not the temperature."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    head = copy.get_layer(HEAD)
    kernel, bias = head.get_weights()
    head.set_weights([kernel, bias + calibration.bias])
    return copy


def representative(
    recipe: Recipe, cohort: Cohort, finder: LungFinder | None, side: int | None = None
) -> NDArray[np.uint8]:
    """Return augmented training inputs with the ranges that a server may receive, not only of clean images.

    Args:
        recipe: of the model.
        cohort: the images.
        finder: the lung network that is released with the network; None: the network sees whole films.
        side: edge of the inputs, in pixels; None: that of the recipe.
    """
    rng = np.random.default_rng(recipe.fit.seed)
    chosen = rng.choice(len(cohort), min(REPRESENTATIVE, len(cohort)), replace=False)
    seed = (recipe.fit.seed, REPRESENTATIVE)
    parts = cohort.parts.copy()
    if finder is not None:
        boxes = [finder.find(whole_film(cohort.grey[index])) for index in chosen]
        parts[chosen] = [WHOLE if box is None else box.edges for box in boxes]
    return augmented_batch(cohort.grey, chosen, side or recipe.network.side, recipe.stress, seed, parts=parts)


def _labels(recipe: Recipe, cohort: Cohort, work: Workspace) -> NDArray[np.float32]:
    """Return the training targets: the labels of the data set, mixed with the teacher's scores if there is one."""
    labels = targets(cohort.radiographs)
    teacher = recipe.teacher
    if teacher is None:
        return labels
    by_condition = conditions(recipe, cohort)
    plan = TrainingPlan(teacher.network, teacher.fit, recipe.sampling, recipe.augment)
    teacher_logits = out_of_fold("teacher", plan, cohort, labels, by_condition, work)
    return distilled_targets(cohort, teacher_logits, by_condition, teacher.share, teacher.temperature)


def _held_out(splits: Sequence[Split], branch: Branch, work: Workspace) -> dict[str, HeldOut]:
    return score_splits(
        splits, branch.plan, branch.cohort, branch.labels, branch.by_condition, work, branch.prefix
    )


def _averaged(of_networks: Sequence[dict[str, HeldOut]]) -> dict[str, HeldOut]:
    """Return the held-out side of each split with the mean logits of the networks."""
    return {
        name: replace(held, logits=averaged([splits[name].logits for splits in of_networks]))
        for name, held in of_networks[0].items()
    }


def _calibration(
    recipe: Recipe,
    cohort: Cohort,
    out_of_fold_logits: Logits,
    by_condition: Mapping[str, Condition],
    held_out: Mapping[str, HeldOut],
) -> calibrate.Calibration:
    """Calibrate on the folder's images at the prevalence of the recipe.

    Each condition has equal weight. With splits, the condition with the largest loss decides.
    """
    of_folds = _evidence(recipe, cohort, out_of_fold_logits, by_condition)
    if not held_out:
        return calibrate.calibrate(calibrate.pooled(of_folds))
    of_splits = [
        part
        for held in held_out.values()
        for part in _evidence(recipe, held.cohort, held.logits, held.conditions)
    ]
    return calibrate.calibrate_worst([*of_folds, *of_splits])


def _evidence(
    recipe: Recipe, cohort: Cohort, logits: Logits, by_condition: Mapping[str, Condition]
) -> list[calibrate.Evidence]:
    """Return what the folder's images say in each condition; the weights of a condition sum to 1."""
    found = []
    for name, trial in by_condition.items():
        chosen = cohort.source[trial.of] == FOLDER
        radiographs = [cohort.radiographs[i] for i in trial.of[chosen]]
        pneumonia = np.array([radiograph.pneumonia for radiograph in radiographs])
        weights = calibrate.prevalence_weights(pneumonia, recipe.calibrate.prevalence)
        found.append(calibrate.Evidence(logits[name][chosen], targets(radiographs), weights / weights.sum()))
    return found


def _scored(
    cohort: Cohort,
    logits: Logits,
    by_condition: Mapping[str, Condition],
    calibration: calibrate.Calibration,
    look: SecondLook | None,
) -> dict[str, LabelledScores]:
    scored = {}
    for name, trial in by_condition.items():
        p = calibration.probabilities(logits[name])
        if look is not None:
            wanted = look.selects(1 - p[:, 0])
            looks = [logits[name], *(logits[view_of(name, view)] for view in VIEWS)]
            p[wanted] = calibration.probabilities(np.mean(looks, axis=0)[wanted])
        radiographs = [cohort.radiographs[i] for i in trial.of]
        scored[name] = labelled_scores(radiographs, Scores(p, np.zeros((len(p), 0, 0), np.uint8)))
    return scored


def _scored_splits(
    held_out: Mapping[str, HeldOut], calibration: calibrate.Calibration, look: SecondLook | None
) -> dict[str, dict[str, LabelledScores]]:
    return {
        name: _scored(held.cohort, held.logits, held.conditions, calibration, look)
        for name, held in held_out.items()
    }


def _network_scores(
    cohort: Cohort,
    by_condition: Mapping[str, Condition],
    of_folds: Sequence[Logits],
    of_splits: Sequence[Mapping[str, HeldOut]],
    calibration: calibrate.Calibration,
) -> dict[str, NetworkScores]:
    """Return the scores by the names in `NETWORKS`, in the order of the logits."""
    return {
        name: NetworkScores(
            _scored(cohort, logits, by_condition, calibration, None),
            _scored_splits(held_out, calibration, None),
        )
        for name, logits, held_out in zip(NETWORKS, of_folds, of_splits, strict=True)
    }


def _pooled(scores: Mapping[str, LabelledScores], cohort: Cohort) -> LabelledScores:
    """Return the folder's images of all conditions, each condition equally often."""
    parts = []
    most = max(len(score) for score in scores.values())
    for scored in scores.values():
        folder = np.tile(cohort.source, len(scored) // len(cohort)) == FOLDER
        parts.append(scored.at(np.tile(np.flatnonzero(folder), most // len(scored))))
    return LabelledScores(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in LabelledScores.__dataclass_fields__
        )
    )


def _conditions(recipe: Recipe, cohort: Cohort, trained: TrainedModel) -> dict[str, calibrate.Labelled]:
    """Return the scores of all conditions, of which the worst decides; none without splits."""
    if not trained.splits:
        return {}
    folder = {
        name: scored.at(np.tile(cohort.source, len(scored) // len(cohort)) == FOLDER)
        for name, scored in trained.scores.items()
    }
    return labelled({recipe.data.folder.called: folder, **trained.split_scores})


def _splits(
    trained: TrainedModel,
    worst_of: Mapping[str, calibrate.Labelled],
    points: Mapping[str, OperatingPoint],
    point: OperatingPoint,
) -> dict[str, Any]:
    if not trained.splits:
        return {}
    trained_on = {name: held.trained_on for name, held in trained.splits.items()}
    return {"splits": splits_section(trained.split_scores, trained_on, worst_of, points, point.threshold)}


def _sets(
    recipe: Recipe, cohort: Cohort, scores: Mapping[str, LabelledScores]
) -> dict[str, tuple[LabelledScores, Cohort]]:
    """Return the measured sets by their name on the card, with the images that each was made from."""
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


def _networks(recipe: Recipe, cohort: Cohort, trained: TrainedModel, point: OperatingPoint) -> dict[str, Any]:
    """Return the figures of each network alone and of both, by the name of the set and the network."""
    section: dict[str, Any] = {}
    for name, scores in trained.networks.items():
        sets = {of_set: scored for of_set, (scored, _) in _sets(recipe, cohort, scores.of_folds).items()}
        sets |= {
            f"{split}, {condition}": scored
            for split, by_condition in scores.of_splits.items()
            for condition, scored in by_condition.items()
        }
        for of_set, scored in sets.items():
            figures = measure(scored, point.threshold)
            section.setdefault(of_set, {})[name] = {metric: figures[metric] for metric in _OF_NETWORKS}
    return {"networks": section} if section else {}


def _second_look(
    recipe: Recipe, cohort: Cohort, trained: TrainedModel, point: OperatingPoint
) -> dict[str, Any]:
    """Return the range of the second look and its effects, by the name of the set."""
    if trained.look is None:
        return {}
    section: dict[str, Any] = {**asdict(trained.look), "views": list(VIEWS)}
    after = _sets(recipe, cohort, trained.scores)
    for name, (first, _) in _sets(recipe, cohort, trained.first).items():
        once, twice = (measure(scored, point.threshold) for scored in (first, after[name][0]))
        section[name] = {"looked_at_again": float(trained.look.selects(first.p).mean())}
        for metric in ("auc", "accuracy", "specificity", "recall"):
            section[name] |= {f"{metric}_at_first": once[metric], metric: twice[metric]}
    return {"second_look": section}


def _measured(scored: LabelledScores, part: Cohort, point: OperatingPoint) -> dict[str, Any]:
    figures = with_intervals(scored, point.threshold, BOOTSTRAP, SEED)
    section = {
        "n": len(scored),
        "patients": len(np.unique(scored.patient)),
        "prevalence": float(scored.pneumonia.mean()),
        **figures,
    }
    groups = subgroups(part.radiographs, scored, point, BOOTSTRAP) if len(part) == len(scored) else {}
    return section | ({"subgroups": groups} if groups else {})


def _spread(scored: LabelledScores, part: Cohort, point: OperatingPoint) -> dict[str, Any]:
    """Return the figures of each fold; every fold also has its own seed."""
    fold = np.tile(part.fold, len(scored) // len(part))
    measured = [measure(scored.at(fold == number), point.threshold) for number in np.unique(fold)]
    figures = {name: [fold_figures[name] for fold_figures in measured] for name in _SPREAD}
    return {
        name: _described([value for value in values if value is not None])
        for name, values in figures.items()
        if None not in values
    }


def _described(values: list[float]) -> dict[str, Any]:
    rounded = [round(value, 4) for value in values]
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": rounded}


def _quantised(
    recipe: Recipe, networks: Sequence[Branch], calibration: calibrate.Calibration, work: Workspace
) -> dict[str, Any]:
    """Measure the effects of int8: the first fold's networks on the patients they did not see."""
    cohort, plain = networks[0].cohort, networks[0].by_condition[PLAIN]
    held = np.flatnonzero((cohort.fold[plain.of] == 0) & (cohort.source == FOLDER))
    exact, quantised = [], []
    for branch in networks:
        model = calibrated(branch.of_fold(0, work), calibration)
        finder = branch.cohort.finders[0] if branch.cohort.finders else None
        inputs = branch.by_condition[PLAIN].inputs[held]
        learnt = representative(recipe, branch.cohort.at(cohort.fold != 0), finder, branch.plan.network.side)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _SERVED
            path.write_bytes(served(recipe, model, learnt))
            quantised.append(LiteRtRuntime(path).run(inputs))
        exact.append(evidence(model, inputs))
    before, after = _mean_evidence(exact), _mean_evidence(quantised)
    pneumonia = np.array([cohort.radiographs[i].pneumonia for i in held])
    temperature = calibration.temperature
    return {
        **asdict(parity(before, after)),
        "auc_float": auc(pneumonia, _p(before, temperature)),
        "auc_int8": auc(pneumonia, _p(after, temperature)),
    }


def _mean_evidence(of_networks: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the mean over the networks of the logits of each image, as if it had one place: shape (n, 1, 1, 3)."""
    means = [places.mean(axis=(1, 2), keepdims=True, dtype=np.float64) for places in of_networks]
    return np.asarray(np.mean(means, axis=0))


def _p(places: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    neutral = calibrate.Calibration(temperature, np.zeros(3))
    return 1 - neutral.probabilities(places.mean(axis=(1, 2)))[:, 0]


def _sources(recipe: Recipe, cohort: Cohort) -> list[dict[str, Any]]:
    sources = (recipe.data.folder, recipe.data.table)
    return [sources[int(source)].model_dump(exclude={"called"}) for source in np.unique(cohort.source)]
