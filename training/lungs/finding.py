"""From masks, or from the lung network of a model, to films that are cut to their lungs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from training.data.cohort import FOLDER, TABLE, Cohort
from training.errors import WrongInput
from training.export.card import write_card
from training.fit.crossfit import Workspace
from training.lungs.fit import examples_of, fit_lungs
from training.lungs.masks import Masks, read_masks
from training.lungs.measures import agreement
from training.recipe import LungsSection, Recipe
from worker.card.identity import LUNGS
from worker.card.loading import CARD
from worker.errors import ModelUnusable
from worker.inference.bundle import Bundle
from worker.inference.exposure import normalise
from worker.inference.gate import downsample
from worker.inference.lung_box import LungBox, find_box
from worker.inference.lungs import (
    FIELD_SIDE,
    NETWORK_SIDE,
    SECTION,
    LungFinder,
    cut,
    whole_film,
)
from worker.inference.runtime import LiteRtRuntime

_REUSED = "The lung network is that of {name} {version}: there were no masks, so nothing was measured."


@dataclass(frozen=True)
class LungsPart:
    """The lung network of a bundle: its file, which `add_to_bundle` copies, and its section of the card."""

    file: Path
    section: dict[str, Any]

    def finder(self) -> LungFinder:
        """Load the network."""
        return _finder(self.file, self.section["margin"], self.section["least_area"])


def part_of(bundle: Bundle) -> LungsPart:
    """Return the lung network of a bundle, to use it again.

    Raises:
        ModelUnusable: the bundle has none.
    """
    if SECTION not in bundle.card:
        raise ModelUnusable(
            f"The model in {bundle.folder} has no lung network, so the training needs masks (--masks)."
        )
    section = bundle.card[SECTION]
    reused = {name: section[name] for name in ("margin", "least_area")}
    return LungsPart(
        bundle.folder / LUNGS, {**reused, "reused": _REUSED.format(name=bundle.name, version=bundle.version)}
    )


def add_to_bundle(folder: Path, part: LungsPart) -> None:
    """Write lungs.tflite into a bundle and its section into the card."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    (folder / LUNGS).write_bytes(part.file.read_bytes())
    names = dict.fromkeys((*card.pop("files"), LUNGS))
    write_card(folder, {**card, SECTION: part.section}, list(names))


def with_masks(recipe: Recipe, cohort: Cohort, folder: Path, work: Workspace) -> tuple[Cohort, LungsPart]:
    """Fit lung networks to masks, and cut each film to the lungs that a network found which had not seen its patient.

    Args:
        recipe: with a section lungs.
        cohort: whole films.
        folder: the masks: see `read_masks`.
        work: the workspace, which keeps finished networks.

    Returns:
        The cohort, cut, and the network that was fitted to all masks.

    Raises:
        WrongInput: there are no masks, or no lungs in any image.
    """
    plan = _plan(recipe)
    masks = read_masks(folder, cohort.radiographs, FIELD_SIDE)
    files = [
        fit_lungs(
            f"lungs-{fold + 1}", plan, recipe.augment, examples_of(cohort, masks, cohort.fold != fold), work
        )
        for fold in range(recipe.split.folds)
    ]
    finders = [_finder(file, plan.margin, plan.least_area) for file in files]
    everyone = np.ones(len(cohort), dtype=bool)
    final = fit_lungs("lungs-final", plan, recipe.augment, examples_of(cohort, masks, everyone), work)
    cut_cohort = cut_to_lungs(recipe, cohort, finders)
    section = {
        "margin": plan.margin,
        "least_area": plan.least_area,
        "side": NETWORK_SIDE,
        "masks": len(masks.of),
        "out_of_fold": _measured(plan, cohort, masks, finders),
        "not_found": _not_found(recipe, cohort, cut_cohort),
    }
    return cut_cohort, LungsPart(final, section)


def with_network(recipe: Recipe, cohort: Cohort, part: LungsPart) -> tuple[Cohort, LungsPart]:
    """Cut each film to the lungs that the lung network of another model finds.

    Arguments, results and errors are those of `with_masks`; `part` is the network.
    """
    cut_cohort = cut_to_lungs(recipe, cohort, [part.finder()] * recipe.split.folds)
    return cut_cohort, replace(
        part, section={**part.section, "not_found": _not_found(recipe, cohort, cut_cohort)}
    )


def cut_to_lungs(recipe: Recipe, cohort: Cohort, finders: Sequence[LungFinder]) -> Cohort:
    """Cut each film to its lungs; images without lungs are rejected, as in screening.

    Args:
        recipe: with a section lungs.
        cohort: whole films.
        finders: for each fold, what finds the lungs of its images.

    Raises:
        WrongInput: no image has lungs.
    """
    boxes = [
        finders[fold].find(whole_film(field))
        for field, fold in zip(cohort.grey, cohort.fold.tolist(), strict=True)
    ]
    found = np.array([box is not None for box in boxes])
    if not found.any():
        raise WrongInput("No lungs were found in any image.")
    missed = [(cohort.radiographs[i], "no_lungs") for i in np.flatnonzero(~found)]
    kept = cohort.at(found)
    edges = [box.edges for box in boxes if box is not None]
    side = recipe.network.side
    return replace(
        kept,
        inputs=np.stack(
            [normalise(cut(field, part, side)) for field, part in zip(kept.grey, edges, strict=True)]
        ),
        parts=np.array(edges),
        rejected=[*cohort.rejected, *missed],
        finders=tuple(finders),
    )


def _plan(recipe: Recipe) -> LungsSection:
    if recipe.lungs is None:
        raise WrongInput("The recipe has no section lungs, so it cannot use masks.")
    return recipe.lungs


def _finder(file: Path, margin: float, least_area: float) -> LungFinder:
    return LungFinder(LiteRtRuntime(file), margin, least_area)


def _measured(
    plan: LungsSection, cohort: Cohort, masks: Masks, finders: Sequence[LungFinder]
) -> Mapping[str, float | int]:
    """Compare the lungs that were found with masks of patients that the networks had not seen."""
    found = np.stack([finders[int(cohort.fold[i])].lung(whole_film(cohort.grey[i])) for i in masks.of])
    boxes: list[LungBox | None] = [find_box(lung, plan.least_area) for lung in found]
    return asdict(agreement(found, boxes, downsample(masks.lung, NETWORK_SIDE)))


def _not_found(recipe: Recipe, whole: Cohort, kept: Cohort) -> dict[str, int]:
    """Return the number of images without lungs, by the name of their set."""
    names = {FOLDER: recipe.data.folder.called, TABLE: recipe.data.table.called}
    return {
        names[source]: _count(whole, source) - _count(kept, source)
        for source in np.unique(whole.source).tolist()
    }


def _count(cohort: Cohort, source: int) -> int:
    return int((cohort.source == source).sum())
