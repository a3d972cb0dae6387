"""From what networks say of images that they were not shown, to the gate's threshold and its figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.radiographs import Radiograph
from training.gate.examples import LABELS, Examples
from worker.inference.gate import rejection_code

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

PLAIN_LIMIT, STRESSED_LIMIT = 0.001, 0.005
LOWEST, HIGHEST = 0.5, 0.9999
# Written before any figure was looked at.
RULE = (
    "Out of fold, by patient, with the served int8 networks: the lowest threshold of 1 - p(frontal), not below "
    f"{LOWEST}, at which of each set at most {1000 * PLAIN_LIMIT:.0f} in 1000 images (but one at least) and at most "
    f"{1000 * STRESSED_LIMIT:.0f} in 1000 of their stressed variants are turned away."
)
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class GateAnswers:
    """The labels' chances, as networks give them that were not shown the patient or the kind.

    Attributes:
        plain: by set, shape (n, labels).
        stressed: by set and stress, shape (n, labels).
        others: of the examples that are no frontal chest, shape (m, labels).
        never: by kind, of what no gate is trained on, shape (k, labels).
    """

    plain: Mapping[str, Floats]
    stressed: Mapping[str, Mapping[str, Floats]]
    others: Floats
    never: Mapping[str, Floats]


def choose_threshold(plain: Mapping[str, Floats], stressed: Mapping[str, Mapping[str, Floats]]) -> float:
    """The threshold by `RULE`, rounded up to four decimals, and `HIGHEST` at most.

    Arguments as in `GateAnswers`.
    """
    needed = [_lowest(1 - p[:, 0], max(1, int(PLAIN_LIMIT * len(p)))) for p in plain.values()]
    for variants in stressed.values():
        scores = np.concatenate([1 - p[:, 0] for p in variants.values()])
        needed.append(_lowest(scores, int(STRESSED_LIMIT * len(scores))))
    return min(HIGHEST, max(LOWEST, *(math.ceil(each * 1e4) / 1e4 for each in needed)))


def measured(
    answers: GateAnswers, sets: Mapping[str, Sequence[Radiograph]], others: Examples, threshold: float
) -> dict[str, Any]:
    """The figures of the card's section.

    Args:
        answers: what the networks said.
        sets: the radiographs by set, in the same order.
        others: the examples that are no frontal chest, in the same order.
        threshold: of 1 - p(frontal).

    Returns:
        `chests`, by set: how many were turned away. Tables: `codes` they were given, the same by
        `groups`, the share of `stressed` variants, and of `others` and of what was `never_trained_on`.
    """
    turned = {name: rejected(p, threshold) for name, p in answers.plain.items()}
    return {
        "chests": {name: _of_set(turned[name], radiographs) for name, radiographs in sets.items()},
        "codes": [row for name, p in answers.plain.items() for row in _codes(name, p, threshold)],
        "groups": [
            {"set": name, "group": group, **_counted(turned[name][mask])}
            for name, radiographs in sets.items()
            for group, mask in _groups(radiographs)
        ],
        "stressed": [
            {"set": name, "stress": stress, "n": len(p), "share": _share(rejected(p, threshold))}
            for name, variants in answers.stressed.items()
            for stress, p in variants.items()
        ],
        "others": list(_of_others(answers.others, others, threshold)),
        "never_trained_on": [
            {"kind": kind, "n": len(p), "share": _share(rejected(p, threshold))}
            for kind, p in answers.never.items()
        ],
    }


def rejected(p: Floats, threshold: float) -> Flags:
    """Which images are turned away, from chances of shape (n, labels)."""
    return np.asarray(1 - p[:, 0] > threshold)


def interval(share: float, count: int) -> list[float]:
    """A 95 % interval of a share among so many patients (Wilson, JASA 22, 1927)."""
    centre, spread = (
        share + _Z**2 / (2 * count),
        _Z * math.sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2),
    )
    low, high = ((centre + sign * spread) / (1 + _Z**2 / count) for sign in (-1, 1))
    return [round(max(0.0, low), 5), round(min(1.0, high), 5)]


def _lowest(scores: Floats, allowed: int) -> float:
    """The lowest threshold above which there are at most so many scores."""
    return float(np.sort(scores)[::-1][min(allowed, len(scores) - 1)])


def _of_set(turned: Flags, radiographs: Sequence[Radiograph]) -> dict[str, Any]:
    patients = len({each.patient for each in radiographs})
    share = float(turned.mean())
    counted = {"n": len(turned), "patients": patients, "turned_away": int(turned.sum())}
    return {**counted, "share": _share(turned), "share_ci": interval(share, patients)}


def _codes(name: str, p: Floats, threshold: float) -> list[dict[str, Any]]:
    codes = [str(rejection_code(row, LABELS, threshold)) for row in p[rejected(p, threshold)]]
    return [{"set": name, "code": code, "n": codes.count(code)} for code in sorted(set(codes))]


def _groups(radiographs: Sequence[Radiograph]) -> Iterator[tuple[str, Flags]]:
    """Normal and pneumonia, and each view, as far as known."""
    askers: dict[str, Callable[[Radiograph], bool]] = {
        "normal": lambda each: not each.pneumonia,
        "pneumonia": lambda each: each.pneumonia,
        "PA": lambda each: each.traits.get("view") == "PA",
        "AP": lambda each: each.traits.get("view") == "AP",
    }
    for name, asked in askers.items():
        mask = np.array([asked(each) for each in radiographs])
        if mask.any():
            yield name, mask


def _counted(turned: Flags) -> dict[str, int]:
    return {"n": len(turned), "turned_away": int(turned.sum())}


def _of_others(p: Floats, others: Examples, threshold: float) -> Iterator[dict[str, Any]]:
    turned, named = rejected(p, threshold), 1 + p[:, 1:].argmax(axis=1)
    for kind in sorted(set(others.kinds.tolist())):
        mask = others.kinds == kind
        right = turned[mask] & (named[mask] == others.labels[mask])
        yield {
            "kind": kind.replace("_", " "),
            "n": int(mask.sum()),
            "share": _share(turned[mask]),
            "right_code": _share(right),
        }


def _share(marked: Flags) -> float:
    return round(float(marked.mean()), 5)
