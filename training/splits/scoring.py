"""One network for each split, trained without the held-out patients, and its scores of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.cohort import TABLE, Cohort
from training.data.conditions import Condition, restricted, with_views
from training.fit.crossfit import Logits, Workspace, load_or_train, logits, select_examples
from training.fit.fitting import TrainingPlan
from training.splits.dividing import Split


@dataclass(frozen=True)
class HeldOut:
    """The held-out side of a split.

    Attributes:
        trained_on: number of the folder's images that its network was trained on.
        cohort: the held-out images.
        conditions: inputs made from them, by name.
        logits: of these, and of the other views of the second look.
    """

    trained_on: int
    cohort: Cohort
    conditions: dict[str, Condition]
    logits: Logits


def score_splits(
    splits: Sequence[Split],
    plan: TrainingPlan,
    cohort: Cohort,
    labels: NDArray[np.float32],
    conditions: Mapping[str, Condition],
    work: Workspace,
    prefix: str = "",
) -> dict[str, HeldOut]:
    """Train one network for each split, and score what the split holds out.

    Args:
        splits: of the cohort.
        plan: the choices for the training of the released network. Each split has its own seed, as each fold has: the
            numbers after those of the folds.
        cohort: the images. Those of the table are on the training side of every split.
        labels: training targets, shape (n, 3); each row sums to 1.
        conditions: the inputs of the whole cohort, by name.
        work: the workspace.
        prefix: of the files in the workspace.
    """
    first_seed = plan.fit.seed + int(cohort.fold.max()) + 1
    return {
        split.name: _held_out(
            split, plan.seeded(first_seed + number), cohort, labels, conditions, work, prefix
        )
        for number, split in enumerate(splits)
    }


def _held_out(
    split: Split,
    plan: TrainingPlan,
    cohort: Cohort,
    labels: NDArray[np.float32],
    conditions: Mapping[str, Condition],
    work: Workspace,
    prefix: str,
) -> HeldOut:
    work.print_line(f"split {split.name}: {split.held_out.sum()} images are held out")
    examples = select_examples(cohort, labels, split.trained_on | (cohort.source == TABLE))
    model = load_or_train(f"{prefix}split-{split.name}", plan, examples, work).model
    tried = restricted(conditions, split.held_out)
    scores = {name: logits(model, condition.inputs) for name, condition in with_views(tried).items()}
    return HeldOut(int(split.trained_on.sum()), cohort.at(split.held_out), tried, scores)
