"""The page of `nightread explore`: the findings in words first, then what they rest on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from training.exploration import plots
from training.exploration.duplicates import FARTHEST, LEAST_ALIKE
from training.exploration.explore import Exploration
from training.exploration.findings import alarms, higher_in, listed, notes, plural
from training.exploration.inventory import KINDS
from training.exploration.pictures import (
    MOST_ROWS,
    cut_short,
    farthest,
    is_loud,
    looks,
    place,
    same_twice,
    written,
)
from training.exploration.shortcuts import TELLING, Shortcut, age_of, numbers
from training.exploration.survey import BLACK, EXPOSURE, SIDE, WHITE
from training.html.blocks import Block, Cell, Findings, Folded, KeyFigures, Prose, Section, Table
from training.html.page import page

NOTICE = (
    "This page shows images of patients and names their files: keep it as carefully as the images themselves, "
    "and out of any repository."
)
_FEW_SIZES = 4


def report(found: Exploration) -> str:
    """The whole page."""
    same = same_twice(found)
    loud = any(is_loud(each) for each in found.same)
    may_look = bool(found.survey.outside_test().any())
    sections = [
        _first(found),
        *([same] if loud else []),
        _classes(found),
        *([_short_cuts(found), _exposure(found)] if may_look else []),
        _files(found),
        *([] if loud else [same]),
        _patients(found),
        *_traits(found),
        *([looks(found), farthest(found)] if may_look else []),
        _turned_away(found),
        _method(found),
    ]
    count = plural(len(found.inventory.images), "image")
    subtitle = f"{found.inventory.title}: {count}, before a model learns from them"
    return page("What is in the data", subtitle, sections, NOTICE)


def _first(found: Exploration) -> Section:
    surplus = sum(len(each.files) - 1 for each in found.same if each.identical)
    figures = KeyFigures(
        [
            (len(found.inventory.images), "images"),
            (len(found.images_of()), "patients"),
            (len(found.survey.turned_away), "cannot be used"),
            (surplus, "exact copies too many"),
            (sum(not each.identical for each in found.same), "pictures stored again"),
            (sum(each.contradictory for each in found.same), "contradictory labels"),
        ]
    )
    looked = alarms(found)
    return Section(
        "What to know first",
        [figures, *([Findings(looked, "alarm")] if looked else []), Findings(notes(found))],
    )


def _patients(found: Exploration) -> Section:
    images_of = found.images_of()
    most = sorted(images_of, key=lambda who: -len(images_of[who]))[:8]
    rows = [
        (who, len(images_of[who]), _tally(each.kind for each in images_of[who]))
        for who in most
        if len(images_of[who]) > 1
    ]
    table = [Table(("patient", "images", "called"), rows, "The patients with most images")] if rows else []
    counts = [len(images) for images in images_of.values()]
    return Section(
        "Patients", [plots.images_per_patient(counts), *table, *_kinship(found), *_patients_across(found)]
    )


def _kinship(found: Exploration) -> list[Block]:
    if not found.check_patients:
        return []
    rows = [(each.words, each.pairs, each.auc, _KIN[each.kin]) for each in found.check_patients]
    return [
        Prose(
            "Are images under one patient's name more alike than images of strangers? The AUC says how often "
            "such a pair is more alike than a pair with somebody else's image of the same label: 0.5 is chance, "
            "and then the name does not stand for one person. Among adults whose names are known to be right, it is 0.75."
        ),
        Table(("images under one name", "pairs", "AUC", "so they are"), rows),
    ]


def _patients_across(found: Exploration) -> list[Folded]:
    across = found.patients_across()
    rows = [
        (who, listed(sorted({each.split for each in images})), listed(each.name for each in images))
        for who, images in list(across.items())[:MOST_ROWS]
    ]
    table = Table(("patient", "splits", "images"), rows, cut_short(len(across)))
    return [Folded(f"Patients in more than one split: {len(across):,}", [table])] if across else []


_KIN = {True: "probably of one person", False: "as strangers' are", None: "too few to say"}


def _classes(found: Exploration) -> Section:
    counts = found.counts()
    kinds = list(next(iter(counts.values())))
    rows: list[tuple[Cell, ...]] = [
        (split, *(of[kind] for kind in kinds), sum(of.values()), _patients_in(found, split))
        for split, of in counts.items()
    ]
    return Section(
        "Classes",
        [
            plots.class_balance(counts),
            Table(("split", *kinds, "images", "patients"), rows),
        ],
    )


def _patients_in(found: Exploration, split: str) -> int:
    return len({each.radiograph.patient for each in found.inventory.images if each.split == split})


def _short_cuts(found: Exploration) -> Section:
    if not found.shortcuts:
        return Section("Short cuts", [Prose("There are not two classes that a number could tell apart.")])
    kinds = _kinds_outside_test(found)
    mixed = _MIXED if len(found.inventory.sets) > 1 else ""
    blocks: list[Block | Folded] = [
        Prose(
            "What could a network go by that is not in the lungs? Each of these numbers alone is asked to tell "
            "pneumonia from normal; 0.5 is chance, 1 is always right, whichever class has the higher values. "
            f"Preprocessing evens out the exposure as it does before every scoring.{mixed}"
        ),
        Table(
            ("number", "normal", "pneumonia", "higher in", "AUC alone", "after preprocessing"),
            [_cut_row(each) for each in found.shortcuts],
            "Medians by class, or the share of those of which it is true",
        ),
        plots.distributions(numbers(found.survey), found.shortcuts, kinds),
    ]
    if found.together:
        blocks.append(
            Table(
                ("several together", "AUC"),
                [(each.words, each.auc) for each in found.together],
                "A logistic regression on the numbers, their squares and products, on patients it was not fitted to",
            )
        )
    return Section("Short cuts", blocks)


def _cut_row(cut: Shortcut) -> tuple[Cell, ...]:
    after = None if cut.evened_auc is None else f"{max(cut.evened_auc, 1 - cut.evened_auc):.2f}"
    typical = [_typical(cut, value) for value in (cut.normal, cut.pneumonia)]
    return cut.words, *typical, higher_in(cut), f"{cut.strength:.2f}", after


def _typical(cut: Shortcut, value: float) -> str:
    return f"{100 * value:.0f} %" if cut.yes_or_no else written(cut.name, value)


def _exposure(found: Exploration) -> Section:
    chosen = found.survey.outside_test()
    kinds = np.array(_kinds_outside_test(found))
    values = found.survey.exposure[chosen]
    rows: list[tuple[Cell, ...]] = [
        (kind, int((kinds == kind).sum()), *_means(values[kinds == kind]))
        for kind in KINDS
        if (kinds == kind).any()
    ]
    return Section(
        "Exposure",
        [
            plots.exposure(found.survey.histogram[chosen], kinds.tolist()),
            Prose(
                "Each line is the mean of a class; the band around it holds the middle half of its images. "
                "The peak of black pixels at the left is cut off."
            ),
            Table(("class", "images", *EXPOSURE), rows, "Means by class"),
        ],
    )


def _means(values: NDArray[np.float64]) -> list[str]:
    return [written(name, float(mean)) for name, mean in zip(EXPOSURE, values.mean(axis=0), strict=True)]


def _files(found: Exploration) -> Section:
    files, kinds = found.survey.files, [each.kind for each in found.survey.images]
    sizes = np.array([each.size for each in files])
    blocks: list[Block | Folded] = []
    distinct = Counter(each.size for each in files)
    if len(distinct) <= _FEW_SIZES:
        said = listed(f"{count:,} of {wide} x {high}" for (wide, high), count in distinct.most_common())
        blocks.append(Prose(f"In pixels, there are {said}."))
    else:
        blocks.append(plots.sizes(sizes, kinds))
    rows = [_file_row(found, kind) for kind in KINDS if kind in kinds]
    headers = ("class", "files", "median size", "width / height", "median kB", "modes", "JPEG quantisation")
    return Section("Files", [*blocks, Table(headers, rows)])


def _file_row(found: Exploration, kind: str) -> tuple[Cell, ...]:
    files = [
        file for file, each in zip(found.survey.files, found.survey.images, strict=True) if each.kind == kind
    ]
    sizes = np.array([file.size for file in files], dtype=float)
    width, height = np.median(sizes, axis=0)
    aspect = np.quantile(sizes[:, 0] / sizes[:, 1], (0.05, 0.5, 0.95))
    return (
        kind,
        len(files),
        f"{width:.0f} x {height:.0f}",
        f"{aspect[1]:.2f} ({aspect[0]:.2f} to {aspect[2]:.2f})",
        f"{np.median([file.bytes for file in files]) / 1000:.1f}",
        _tally(file.mode for file in files),
        _tally(_quantisation(file.coarseness) for file in files),
    )


def _quantisation(coarseness: float) -> str:
    return f"{coarseness:.1f}" if coarseness else "none"


def _traits(found: Exploration) -> list[Section]:
    images = found.inventory.images
    kinds = [kind for kind in KINDS if any(each.kind == kind for each in images)]
    blocks: list[Block | Folded] = []
    if any("age_years" in each.radiograph.traits for each in images):
        values = np.array([age_of(each.radiograph.traits.get("age_years")) for each in images])
        if np.isfinite(values).any():
            blocks.append(plots.ages(values, [each.kind for each in images]))
    for trait in ("sex", "view"):
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        for each in images:
            counted[each.radiograph.traits.get(trait, "not known")][each.kind] += 1
        if set(counted) != {"not known"}:
            rows: list[tuple[Cell, ...]] = [
                (value, *(of[kind] for kind in kinds), of.total(), _share_sick(of))
                for value, of in sorted(counted.items())
            ]
            blocks.append(Table((trait, *kinds, "images", "with pneumonia"), rows))
    return [Section("Age, sex and view", blocks)] if blocks else []


def _share_sick(of: Counter[str]) -> str:
    return f"{100 * (1 - of['normal'] / of.total()):.0f} %"


def _turned_away(found: Exploration) -> Section:
    away, ignored = found.survey.turned_away, found.inventory.ignored
    if not away and not ignored:
        return Section("Turned away", [Prose("Every file could be read and is taken.")])
    blocks: list[Block | Folded] = []
    if away:
        rows = [(each.listed.name, place(each.listed), each.sentence) for each in away[:MOST_ROWS]]
        blocks.append(Table(("file", "called", "why"), rows, f"Cannot be used{cut_short(len(away), ': ')}"))
    if ignored:
        blocks.append(Table(("file", "why"), ignored[:MOST_ROWS], f"Not read{cut_short(len(ignored), ': ')}"))
    return Section("Turned away", blocks)


def _method(found: Exploration) -> Section:
    test = [Prose(_TEST)] if "test" in found.splits else []
    return Section(
        "How this was measured", [*test, Prose(_EXPOSURE_METHOD), Prose(_SAME_METHOD), Prose(_AUC_METHOD)]
    )


_MIXED = " Here two data sets are mixed, as a training on both would mix them: explore each alone, too."
_TEST = (
    "Of the split test, images are counted, checked for damage and compared with all others. Their exposure is not "
    "measured and none is shown, unless it is also elsewhere: nothing should be chosen by what a test split looks like."
)
_EXPOSURE_METHOD = (
    f"Exposure is measured on grey images squashed to {SIDE} x {SIDE} pixels, as the preprocessing decodes them and "
    f"before it evens them out. Black (borders, collimation) is a grey value of at most {BLACK}, white of at least {WHITE}. Sharpness is the decimal "
    "logarithm of the variance of the Laplacian. JPEG quantisation is the mean of the file's table for brightness: "
    "about 5 at quality 95, 29 at quality 75."
)
_SAME_METHOD = (
    "Files are the same byte for byte if their SHA-256 is. Other copies are nominated by a perceptual hash (64 bits of "
    f"the discrete cosine transform, at most {FARTHEST} of them different) and confirmed by the correlation of their fine "
    f"detail, {LEAST_ALIKE:.2f} or more: another size, JPEG quality, brightness, contrast or gamma is recognised; a copy "
    "that was cropped, turned or mirrored, or has large letters burnt in, may not be."
)
_AUC_METHOD = (
    f"An AUC is reported as a short cut from {TELLING:.2f} on, if it is more than four standard errors away from chance. It "
    "counts images, not patients. A number that tells the classes apart may do so because of the disease: it is a "
    "reason to look, not a proof of a fault."
)


def _kinds_outside_test(found: Exploration) -> list[str]:
    return [each.kind for each in found.survey.images if each.split != "test"]


def _tally(values: Iterable[str]) -> str:
    counted = Counter(values).most_common()
    if len(counted) == 1:
        return counted[0][0]
    return ", ".join(f"{count:,} {value}" for value, count in counted[:3])
