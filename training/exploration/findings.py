"""The findings of an exploration in sentences: warnings first, then notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from training.exploration.duplicates import LEAST_ALIKE
from training.exploration.explore import Exploration, SameImages
from training.exploration.shortcuts import Shortcut

_FEW = 50  # images of a split; fewer are too few to choose anything by
_MENTIONED = 4
# From this AUC on, several numbers together get a warning.
_TELLING_TOGETHER = 0.75


def alarms(exploration: Exploration) -> list[str]:
    """Return what a person must check before using the data, the worst first."""
    return [
        *_contradictions(exploration),
        *_same_across_splits(exploration),
        *_patients_across_splits(exploration),
        *_under_two_names(exploration),
        *_short_cuts(exploration),
        *_turned_away(exploration),
    ]


def notes(exploration: Exploration) -> list[str]:
    """Return other facts, and the checks that found nothing."""
    return [
        *_balance(exploration),
        *_patients(exploration),
        *_copies(exploration),
        *_splits_apart(exploration),
        *_small_splits(exploration),
        *_not_telling(exploration),
        *_oddities(exploration),
    ]


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(parts: Iterable[str]) -> str:
    """Join parts of a sentence: a, b and c."""
    *most, last = list(parts)
    return f"{', '.join(most)} and {last}" if most else last


def direction(shortcut: Shortcut) -> str:
    """Return the class with the higher numbers, as a phrase."""
    more = "more often" if shortcut.yes_or_no else "higher"
    return f"{more} in {higher_in(shortcut)}"


def higher_in(shortcut: Shortcut) -> str:
    """Return the class with the higher numbers."""
    return "pneumonia" if shortcut.auc >= 0.5 else "normal"  # noqa: PLR2004 - of an AUC


def how(same: SameImages) -> str:
    """Return how the files of a group are the same."""
    return "byte for byte" if same.identical else "stored again"


def _contradictions(exploration: Exploration) -> list[str]:
    wrong = [group for group in exploration.same if group.contradictory]
    if not wrong:
        return []
    first = wrong[0]
    one = first.files[0]
    other = next(file for file in first.files if file.kind != one.kind)
    return [
        (
            f"{plural(len(wrong), 'image has', 'images have')} labels that cannot both be true: "
            f"{one.name} is labelled {one.kind} and {other.name} {other.kind}, but they show the same image "
            f"({how(first)})."
        )
    ]


def _same_across_splits(exploration: Exploration) -> list[str]:
    sentences = []
    for identical, words in ((True, "byte for byte"), (False, "stored again in another form")):
        across = [
            group for group in exploration.same if group.identical is identical and len(group.splits) > 1
        ]
        if across:
            where = listed(
                sorted({split for images_of_patient in across for split in images_of_patient.splits})
            )
            sentences.append(
                f"{plural(len(across), 'image is', 'images are')} in more than one split ({where}), "
                f"{words}: metrics there include images that the model has memorised."
            )
    return sentences


def _patients_across_splits(exploration: Exploration) -> list[str]:
    across = exploration.patients_across()
    if not across:
        return []
    where = listed(sorted({image.split for images in across.values() for image in images}))
    sentence = (
        f"{plural(len(across), 'patient has', 'patients have')} images in more than one split ({where}). "
    )
    unlike = [check for check in exploration.patient_checks if not check.same_split and check.kin is False]
    if unlike and not any(check.kin for check in exploration.patient_checks if not check.same_split):
        return [
            (
                f"By their names, {sentence}But these images are no more alike than images of different people (AUC "
                f"{unlike[0].auc:.2f} of {unlike[0].pairs:,} pairs): probably each split numbers its patients from one."
            )
        ]
    return [
        f"{sentence}If each split numbers its patients from one, the same name may be another person: look at the images."
    ]


def _under_two_names(exploration: Exploration) -> list[str]:
    under_two_names = [group for group in exploration.same if len(group.patients) > 1]
    if not under_two_names:
        return []
    return [
        (
            f"{plural(len(under_two_names), 'image is', 'images are')} stored under more than one patient "
            f"({listed(under_two_names[0].patients)}): folds by patient would not keep the copies together."
        )
    ]


def _short_cuts(exploration: Exploration) -> list[str]:
    sentences = []
    telling = [shortcut for shortcut in exploration.shortcuts if shortcut.telling]
    if telling:
        phrases = [
            f"{shortcut.words} (AUC {shortcut.strength:.2f}, {direction(shortcut)})" for shortcut in telling
        ]
        more = [f"{len(phrases) - _MENTIONED} more"] if len(phrases) > _MENTIONED else []
        count = (
            "One number alone separates"
            if len(phrases) == 1
            else f"Each of {len(phrases)} numbers alone separates"
        )
        sentences.append(
            f"{count} pneumonia from normal: {listed([*phrases[:_MENTIONED], *more])}. "
            "A network may learn this shortcut instead of the appearance of lungs."
        )
    worth = {model.name: model for model in exploration.together}
    if "exposure" in worth and worth["exposure"].auc >= _TELLING_TOGETHER:
        evened = f", {worth['exposure_evened'].auc:.2f} after preprocessing"
        sentences.append(
            f"Five numbers about exposure alone reach AUC {worth['exposure'].auc:.2f} on patients "
            f"that they were not fitted to{evened}: only a network above this value has certainly learnt more than exposure."
        )
    return sentences


def _turned_away(exploration: Exploration) -> list[str]:
    rejections = exploration.survey.rejected
    if not rejections:
        return []
    reasons = Counter(rejection.code.replace("_", " ") for rejection in rejections).most_common()
    why = listed(f"{count:,} {reason}" for reason, count in reasons)
    return [
        f"{len(rejections):,} of {plural(len(exploration.inventory.images), 'image')} cannot be used: {why}."
    ]


def _balance(exploration: Exploration) -> list[str]:
    counted = Counter(image.kind for image in exploration.inventory.images)
    total, normal = counted.total(), counted["normal"]
    kinds = [f"{counted[kind]:,} {kind}" for kind in ("bacterial", "viral") if counted[kind]]
    if kinds and counted["pneumonia"]:
        kinds.append(f"{counted['pneumonia']:,} of unknown kind")
    details = f" ({listed(kinds)})" if kinds else ""
    share = (total - normal) / total
    return [
        f"{100 * share:.0f} % of {plural(total, 'image')} show pneumonia: {total - normal:,}{details}, against {normal:,} normal."
    ]


def _patients(exploration: Exploration) -> list[str]:
    images_of = exploration.images_of()
    if len(images_of) == len(exploration.inventory.images):
        return ["By the file names, no patient has two images."]
    most = max(images_of, key=lambda who: len(images_of[who]))
    several = sum(len(images) > 1 for images in images_of.values())
    sentences = [
        (
            f"The images show {plural(len(images_of), 'patient')}, {several:,} of them in several images; "
            f"{most} has {len(images_of[most])}. Keep all images of a patient in one fold."
        )
    ]
    for one, other in (("bacterial", "viral"), ("normal", "pneumonia")):
        both = exploration.patients_of_both(one, other)
        if both:
            sentences.append(f"{plural(both, 'patient has', 'patients have')} both {one} and {other} images.")
    return [*sentences, *_one_name_several_people(exploration)]


def _one_name_several_people(exploration: Exploration) -> list[str]:
    """Report one name for several people per label; the same per split is reported with the splits."""
    worth = {check.same_label: check for check in exploration.patient_checks if check.same_split}
    if True not in worth or False not in worth or not worth[True].kin or worth[False].kin is not False:
        return []
    return [
        (
            f"Images under one patient's name but with different labels are no more alike than images of different people "
            f"(AUC {worth[False].auc:.2f} of {worth[False].pairs:,} pairs; {worth[True].auc:.2f} under one label): "
            "probably each label numbers its patients from one. A split by these names is stricter than necessary."
        )
    ]


def _copies(exploration: Exploration) -> list[str]:
    identical = [group for group in exploration.same if group.identical]
    again = [group for group in exploration.same if not group.identical]
    if not exploration.same:
        return [f"No image exists twice.{_near_miss(exploration)}"]
    sentences = []
    if identical:
        surplus = sum(len(group.files) - 1 for group in identical)
        sentences.append(
            f"{plural(len(identical), 'image exists', 'images exist')} more than once, byte for byte: "
            f"{plural(surplus, 'surplus file')}{_harmless(identical)}"
        )
    if again:
        sentences.append(
            f"{plural(len(again), 'image was', 'images were')} stored again in another size, quality or "
            f"exposure{_harmless(again)}"
        )
    else:
        sentences.append(f"No image was stored again in another form.{_near_miss(exploration)}")
    return sentences


def _harmless(same: Sequence[SameImages]) -> str:
    if any(group.contradictory or len(group.splits) > 1 or len(group.patients) > 1 for group in same):
        return "."
    return ". All copies are within one patient, one split and one label. They count twice in training."


def _near_miss(exploration: Exploration) -> str:
    if not exploration.near_misses:
        return ""
    _, _, likeness = exploration.near_misses[0]
    return f" The most similar pair has a likeness of {likeness:.2f}; copies have {LEAST_ALIKE:.2f} or more."


def _splits_apart(exploration: Exploration) -> list[str]:
    splits = exploration.splits
    if len(splits) == 1:
        return (
            []
            if splits == ["all"]
            else [f"There is only one split, {splits[0]}, so images cannot leak between splits."]
        )
    sentences = []
    if not any(len(group.splits) > 1 for group in exploration.same):
        sentences.append(f"No image is in two of the splits {listed(splits)}.")
    if not exploration.patients_across():
        sentences.append("By the file names, no patient is in two splits.")
    return sentences


def _small_splits(exploration: Exploration) -> list[str]:
    sizes = {split: sum(kinds.values()) for split, kinds in exploration.counts().items()}
    return [
        f"The split {split} has {plural(size, 'image')}: too few to base decisions on."
        for split, size in sizes.items()
        if size < _FEW and split != "all"
    ]


def _not_telling(exploration: Exploration) -> list[str]:
    if not exploration.shortcuts or any(shortcut.telling for shortcut in exploration.shortcuts):
        return []
    strongest = exploration.shortcuts[0]
    return [
        (
            f"No single number separates pneumonia from normal; the strongest is {strongest.words} "
            f"(AUC {strongest.strength:.2f}, {direction(strongest)})."
        )
    ]


def _oddities(exploration: Exploration) -> list[str]:
    sentences = []
    if exploration.inventory.ignored:
        count = len(exploration.inventory.ignored)
        sentences.append(
            f"{plural(count, 'file or folder', 'files or folders')} beside the images are ignored."
        )
    ages = exploration.unlikely_ages()
    if ages:
        sentences.append(f"{plural(len(ages), 'image has', 'images have')} an impossible age.")
    return sentences
