"""Fits small networks whose examples fit into memory, and keeps what is finished in the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import keras

from training.fit.callbacks import CpuLimit, Progress
from training.fit.crossfit import Workspace


class Plan(Protocol):
    """The choices for the optimisation of a small network: epochs, and the maximum of the learning rate."""

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        ...

    @property
    def learning_rate(self) -> float:
        """The maximum of the learning rate."""
        ...


def fit_small(
    model: keras.Model, batches: Any, plan: Plan, loss: Any, weight_decay: float, work: Workspace
) -> None:
    """Fit a network with AdamW. The learning rate rises over a tenth of the steps and then falls to zero.

    Args:
        model: the network; its weights change.
        batches: a `PyDataset`.
        plan: epochs and learning rate.
        loss: as `keras.Model.compile` takes it.
        weight_decay: of AdamW.
        work: the workspace: its lines of progress and its limit.
    """
    steps = plan.epochs * batches.num_batches
    warm_up = steps // 10
    schedule = keras.optimizers.schedules.CosineDecay(
        plan.learning_rate / 10,
        max(1, steps - warm_up),
        warmup_target=plan.learning_rate,
        warmup_steps=warm_up,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    model.compile(optimizer, loss, jit_compile=False)
    limit = [] if work.cpu_limit is None else [CpuLimit(work.cpu_limit)]
    progress = Progress(plan.epochs, work.print_line)
    model.fit(batches, epochs=plan.epochs, callbacks=[progress, *limit], verbose=0)


def keep(path: Path, content: bytes) -> None:
    """Write a finished file of the workspace. If it exists, it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"part-{path.name}")
    partial.write_bytes(content)
    partial.replace(path)
