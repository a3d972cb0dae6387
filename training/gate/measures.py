"""The gate's threshold and figures, from out-of-fold answers of its networks."""

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
# The rule was written before any figure was known.
RULE = (
    "Out of fold, by patient, with the served int8 networks: the lowest threshold of 1 - p(frontal), not below "
    f"{LOWEST}, at which of each set at most {1000 * PLAIN_LIMIT:.0f} in 1000 images (but one at least) and at most "
    f"{1000 * STRESSED_LIMIT:.0f} in 1000 of their stressed variants are rejected."
)
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class GateAnswers:
    """Label probabilities from networks that did not see the patient or the kind in training.

    Attributes:
        plain: by set, shape (n, labels).
        stressed: by set and stress, shape (n, labels).
        others: of the examples that are not frontal chests, shape (m, labels).
        never: of kinds that no gate is trained on, by kind, shape (k, labels).
    """

    plain: Mapping[str, Floats]
    stressed: Mapping[str, Mapping[str, Floats]]
    others: Floats
    never: Mapping[str, Floats]


def choose_threshold(plain: Mapping[str, Floats], stressed: Mapping[str, Mapping[str, Floats]]) -> float:
    """Return the threshold by `RULE`, rounded up to four decimals, and at most `HIGHEST`.

    Arguments as in `GateAnswers`.
    """
    needed = [_lowest(1 - p[:, 0], max(1, int(PLAIN_LIMIT * len(p)))) for p in plain.values()]
    for variants in stressed.values():
        scores = np.concatenate([1 - p[:, 0] for p in variants.values()])
        needed.append(_lowest(scores, int(STRESSED_LIMIT * len(scores))))
    return min(HIGHEST, max(LOWEST, *(math.ceil(limit * 1e4) / 1e4 for limit in needed)))


def measured(
    answers: GateAnswers, sets: Mapping[str, Sequence[Radiograph]], others: Examples, threshold: float
) -> dict[str, Any]:
    """Return the figures of the card's section.

    Args:
        answers: of the networks.
        sets: the radiographs by set, in the order of the answers.
        others: the examples that are not frontal chests, in the order of the answers.
        threshold: of 1 - p(frontal).

    Returns:
        `chests`: rejected images by set. Tables: rejection `codes`; rejections by `groups`; the rejected
        share of `stressed` variants, of `others` and of kinds that were `never_trained_on`.
    """
    flags = {name: rejected(p, threshold) for name, p in answers.plain.items()}
    return {
        "chests": {name: _of_set(flags[name], radiographs) for name, radiographs in sets.items()},
        "codes": [row for name, p in answers.plain.items() for row in _codes(name, p, threshold)],
        "groups": [
            {"set": name, "group": group, **_counted(flags[name][mask])}
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
    """Return which images the gate rejects, from probabilities of shape (n, labels)."""
    return np.asarray(1 - p[:, 0] > threshold)


def interval(share: float, count: int) -> list[float]:
    """Return the 95 % interval of a share among `count` patients (Wilson, JASA 22, 1927)."""
    centre, spread = (
        share + _Z**2 / (2 * count),
        _Z * math.sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2),
    )
    low, high = ((centre + sign * spread) / (1 + _Z**2 / count) for sign in (-1, 1))
    return [round(max(0.0, low), 5), round(min(1.0, high), 5)]


def _lowest(scores: Floats, allowed: int) -> float:
    """Return the lowest threshold that at most `allowed` scores exceed."""
    return float(np.sort(scores)[::-1][min(allowed, len(scores) - 1)])


def _of_set(flags: Flags, radiographs: Sequence[Radiograph]) -> dict[str, Any]:
    patients = len({radiograph.patient for radiograph in radiographs})
    share = float(flags.mean())
    counted = {"n": len(flags), "patients": patients, "turned_away": int(flags.sum())}
    return {**counted, "share": _share(flags), "share_ci": interval(share, patients)}


def _codes(name: str, p: Floats, threshold: float) -> list[dict[str, Any]]:
    codes = [str(rejection_code(row, LABELS, threshold)) for row in p[rejected(p, threshold)]]
    return [{"set": name, "code": code, "n": codes.count(code)} for code in sorted(set(codes))]


def _groups(radiographs: Sequence[Radiograph]) -> Iterator[tuple[str, Flags]]:
    """Yield the masks of normal images, pneumonia, and each view, as far as known."""
    tests: dict[str, Callable[[Radiograph], bool]] = {
        "normal": lambda radiograph: not radiograph.pneumonia,
        "pneumonia": lambda radiograph: radiograph.pneumonia,
        "PA": lambda radiograph: radiograph.traits.get("view") == "PA",
        "AP": lambda radiograph: radiograph.traits.get("view") == "AP",
    }
    for name, belongs in tests.items():
        mask = np.array([belongs(radiograph) for radiograph in radiographs])
        if mask.any():
            yield name, mask


def _counted(flags: Flags) -> dict[str, int]:
    return {"n": len(flags), "turned_away": int(flags.sum())}


def _of_others(p: Floats, others: Examples, threshold: float) -> Iterator[dict[str, Any]]:
    flags, named = rejected(p, threshold), 1 + p[:, 1:].argmax(axis=1)
    for kind in sorted(set(others.kinds.tolist())):
        mask = others.kinds == kind
        right = flags[mask] & (named[mask] == others.labels[mask])
        yield {
            "kind": kind.replace("_", " "),
            "n": int(mask.sum()),
            "share": _share(flags[mask]),
            "right_code": _share(right),
        }


def _share(marked: Flags) -> float:
    return round(float(marked.mean()), 5)
