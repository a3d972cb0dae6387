"""The HTML page of `nightread explore`: findings first, then the figures behind them."""

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
    appearance,
    copies,
    extremes,
    is_harmful,
    place,
    truncation_note,
    written,
)
from training.exploration.shortcuts import TELLING, Shortcut, age_of, numbers
from training.exploration.survey import BLACK, EXPOSURE, SIDE, WHITE
from training.html.blocks import Block, Cell, Folded, KeyFigures, Prose, Section, Statements, Table
from training.html.page import page

NOTICE = (
    "This page shows images of patients and names their files. Protect it like the images themselves, and never "
    "commit or publish it."
)
_FEW_SIZES = 4


def report(exploration: Exploration) -> str:
    """Return the whole page."""
    same = copies(exploration)
    has_harmful = any(is_harmful(group) for group in exploration.same)
    may_look = bool(exploration.survey.outside_test().any())
    sections = [
        _first(exploration),
        *([same] if has_harmful else []),
        _classes(exploration),
        *([_shortcuts(exploration), _exposure(exploration)] if may_look else []),
        _files(exploration),
        *([] if has_harmful else [same]),
        _patients(exploration),
        *_traits(exploration),
        *([appearance(exploration), extremes(exploration)] if may_look else []),
        _unusable(exploration),
        _method(exploration),
    ]
    count = plural(len(exploration.inventory.images), "image")
    subtitle = f"{exploration.inventory.title}: {count}, before training"
    return page("Data set exploration", subtitle, sections, NOTICE)


def _first(exploration: Exploration) -> Section:
    surplus = sum(len(group.files) - 1 for group in exploration.same if group.identical)
    figures = KeyFigures(
        [
            (len(exploration.inventory.images), "images"),
            (len(exploration.images_of()), "patients"),
            (len(exploration.survey.rejected), "unusable images"),
            (surplus, "surplus exact copies"),
            (sum(not group.identical for group in exploration.same), "images stored again"),
            (sum(group.contradictory for group in exploration.same), "contradictory labels"),
        ]
    )
    warnings = alarms(exploration)
    return Section(
        "Summary",
        [figures, *([Statements(warnings, "alarm")] if warnings else []), Statements(notes(exploration))],
    )


def _patients(exploration: Exploration) -> Section:
    images_of = exploration.images_of()
    most = sorted(images_of, key=lambda who: -len(images_of[who]))[:8]
    rows = [
        (who, len(images_of[who]), _tally(image.kind for image in images_of[who]))
        for who in most
        if len(images_of[who]) > 1
    ]
    table = [Table(("patient", "images", "labels"), rows, "The patients with most images")] if rows else []
    counts = [len(images) for images in images_of.values()]
    return Section(
        "Patients",
        [
            plots.images_per_patient(counts),
            *table,
            *_patient_checks(exploration),
            *_patients_across(exploration),
        ],
    )


def _patient_checks(exploration: Exploration) -> list[Block]:
    if not exploration.patient_checks:
        return []
    rows = [(check.words, check.pairs, check.auc, _KIN[check.kin]) for check in exploration.patient_checks]
    return [
        Prose(
            "Are images under one patient's name more alike than images of different people? The AUC is the chance that "
            "such a pair is more alike than a pair with another patient's image of the same label. With 0.5, the name "
            "does not stand for one person. Among adults whose names are known to be right, the AUC is 0.75."
        ),
        Table(("images under one name", "pairs", "AUC", "conclusion"), rows),
    ]


def _patients_across(exploration: Exploration) -> list[Folded]:
    across = exploration.patients_across()
    rows = [
        (who, listed(sorted({image.split for image in images})), listed(image.name for image in images))
        for who, images in list(across.items())[:MOST_ROWS]
    ]
    table = Table(("patient", "splits", "images"), rows, truncation_note(len(across)))
    return [Folded(f"Patients in more than one split: {len(across):,}", [table])] if across else []


_KIN = {True: "probably one person", False: "probably different people", None: "uncertain"}


def _classes(exploration: Exploration) -> Section:
    counts = exploration.counts()
    kinds = list(next(iter(counts.values())))
    rows: list[tuple[Cell, ...]] = [
        (split, *(of[kind] for kind in kinds), sum(of.values()), _patients_in(exploration, split))
        for split, of in counts.items()
    ]
    return Section(
        "Classes",
        [
            plots.class_balance(counts),
            Table(("split", *kinds, "images", "patients"), rows),
        ],
    )


def _patients_in(exploration: Exploration, split: str) -> int:
    return len({image.radiograph.patient for image in exploration.inventory.images if image.split == split})


def _shortcuts(exploration: Exploration) -> Section:
    if not exploration.shortcuts:
        return Section("Shortcuts", [Prose("There is only one class, so no number can separate classes.")])
    kinds = _kinds_outside_test(exploration)
    mixed = _MIXED if len(exploration.inventory.sets) > 1 else ""
    blocks: list[Block | Folded] = [
        Prose(
            "What could a network learn instead of the appearance of lungs? The AUC of a number shows how well this number "
            "alone separates pneumonia from normal: 0.5 is chance, 1 is perfect, whichever class has the higher values. "
            f"The preprocessing normalises the exposure, as before every scoring.{mixed}"
        ),
        Table(
            ("number", "normal", "pneumonia", "higher in", "AUC alone", "after preprocessing"),
            [_shortcut_row(shortcut) for shortcut in exploration.shortcuts],
            "Medians by class, or the share of images for yes or no",
        ),
        plots.distributions(numbers(exploration.survey), exploration.shortcuts, kinds),
    ]
    if exploration.together:
        blocks.append(
            Table(
                ("several numbers", "AUC"),
                [(model.words, model.auc) for model in exploration.together],
                "Logistic regression on the numbers, their squares and products, on patients it was not fitted to",
            )
        )
    return Section("Shortcuts", blocks)


def _shortcut_row(shortcut: Shortcut) -> tuple[Cell, ...]:
    after = (
        None if shortcut.evened_auc is None else f"{max(shortcut.evened_auc, 1 - shortcut.evened_auc):.2f}"
    )
    typical = [_typical(shortcut, value) for value in (shortcut.normal, shortcut.pneumonia)]
    return shortcut.words, *typical, higher_in(shortcut), f"{shortcut.strength:.2f}", after


def _typical(shortcut: Shortcut, value: float) -> str:
    return f"{100 * value:.0f} %" if shortcut.yes_or_no else written(shortcut.name, value)


def _exposure(exploration: Exploration) -> Section:
    chosen = exploration.survey.outside_test()
    kinds = np.array(_kinds_outside_test(exploration))
    values = exploration.survey.exposure[chosen]
    rows: list[tuple[Cell, ...]] = [
        (kind, int((kinds == kind).sum()), *_means(values[kinds == kind]))
        for kind in KINDS
        if (kinds == kind).any()
    ]
    return Section(
        "Exposure",
        [
            plots.exposure(exploration.survey.histogram[chosen], kinds.tolist()),
            Prose(
                "Each line is the mean of a class; the band around it covers the middle half of its images. "
                "The peak of black pixels at the left is cut off."
            ),
            Table(("class", "images", *EXPOSURE), rows, "Means by class"),
        ],
    )


def _means(values: NDArray[np.float64]) -> list[str]:
    return [written(name, float(mean)) for name, mean in zip(EXPOSURE, values.mean(axis=0), strict=True)]


def _files(exploration: Exploration) -> Section:
    files, kinds = exploration.survey.files, [image.kind for image in exploration.survey.images]
    sizes = np.array([file.size for file in files])
    blocks: list[Block | Folded] = []
    distinct = Counter(file.size for file in files)
    if len(distinct) <= _FEW_SIZES:
        size_counts = listed(
            f"{count:,} of {wide} x {high}" for (wide, high), count in distinct.most_common()
        )
        blocks.append(Prose(f"Sizes in pixels: {size_counts}."))
    else:
        blocks.append(plots.sizes(sizes, kinds))
    rows = [_file_row(exploration, kind) for kind in KINDS if kind in kinds]
    headers = ("class", "files", "median size", "width / height", "median kB", "modes", "JPEG quantisation")
    return Section("Files", [*blocks, Table(headers, rows)])


def _file_row(exploration: Exploration, kind: str) -> tuple[Cell, ...]:
    files = [
        file
        for file, image in zip(exploration.survey.files, exploration.survey.images, strict=True)
        if image.kind == kind
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


def _traits(exploration: Exploration) -> list[Section]:
    images = exploration.inventory.images
    kinds = [kind for kind in KINDS if any(image.kind == kind for image in images)]
    blocks: list[Block | Folded] = []
    if any("age_years" in image.radiograph.traits for image in images):
        values = np.array([age_of(image.radiograph.traits.get("age_years")) for image in images])
        if np.isfinite(values).any():
            blocks.append(plots.ages(values, [image.kind for image in images]))
    for trait in ("sex", "view"):
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        for image in images:
            counted[image.radiograph.traits.get(trait, "not known")][image.kind] += 1
        if set(counted) != {"not known"}:
            rows: list[tuple[Cell, ...]] = [
                (value, *(of[kind] for kind in kinds), of.total(), _share_sick(of))
                for value, of in sorted(counted.items())
            ]
            blocks.append(Table((trait, *kinds, "images", "with pneumonia"), rows))
    return [Section("Age, sex and view", blocks)] if blocks else []


def _share_sick(of: Counter[str]) -> str:
    return f"{100 * (1 - of['normal'] / of.total()):.0f} %"


def _unusable(exploration: Exploration) -> Section:
    rejections, ignored = exploration.survey.rejected, exploration.inventory.ignored
    if not rejections and not ignored:
        return Section("Unusable and ignored files", [Prose("All files are usable.")])
    blocks: list[Block | Folded] = []
    if rejections:
        rows = [
            (rejection.listed.name, place(rejection.listed), rejection.sentence)
            for rejection in rejections[:MOST_ROWS]
        ]
        blocks.append(
            Table(("file", "label", "reason"), rows, f"Unusable{truncation_note(len(rejections), ': ')}")
        )
    if ignored:
        blocks.append(
            Table(("file", "reason"), ignored[:MOST_ROWS], f"Ignored{truncation_note(len(ignored), ': ')}")
        )
    return Section("Unusable and ignored files", blocks)


def _method(exploration: Exploration) -> Section:
    test = [Prose(_TEST)] if "test" in exploration.splits else []
    return Section("Methods", [*test, Prose(_EXPOSURE_METHOD), Prose(_SAME_METHOD), Prose(_AUC_METHOD)])


_MIXED = " These figures mix two data sets, as a training on both would: explore each one separately, too."
_TEST = (
    "Images of the split test are counted, checked for damage and compared with all others. Their exposure is not "
    "measured, and an image of it is only shown if another split has it too: no decision should depend on the "
    "appearance of a test split."
)
_EXPOSURE_METHOD = (
    f"Exposure is measured on grey images squashed to {SIDE} x {SIDE} pixels, as the preprocessing decodes them, "
    f"before normalisation. Black (borders, collimation) is a grey value of at most {BLACK}, white of at least {WHITE}. Sharpness is the decimal "
    "logarithm of the variance of the Laplacian. JPEG quantisation is the mean of the file's table for brightness: "
    "about 5 at quality 95, 29 at quality 75."
)
_SAME_METHOD = (
    "Files with the same SHA-256 are identical. A perceptual hash (64 bits of the discrete cosine transform, at most "
    f"{FARTHEST} of them different) proposes other copies, and the correlation of fine detail confirms them at "
    f"{LEAST_ALIKE:.2f} or more. Copies with another size, JPEG quality, brightness, contrast or gamma are recognised. A "
    "copy that was cropped, turned or mirrored, or has large burned-in letters, may be missed."
)
_AUC_METHOD = (
    f"An AUC is reported as a shortcut from {TELLING:.2f} on, if it is more than four standard errors away from chance. It "
    "counts images, not patients. A number may separate the classes because of the disease: it is a reason to look, "
    "not proof of a fault."
)


def _kinds_outside_test(exploration: Exploration) -> list[str]:
    return [image.kind for image in exploration.survey.images if image.split != "test"]


def _tally(values: Iterable[str]) -> str:
    counted = Counter(values).most_common()
    if len(counted) == 1:
        return counted[0][0]
    return ", ".join(f"{count:,} {value}" for value, count in counted[:3])
