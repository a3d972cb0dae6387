"""What an exploration means, in sentences with numbers: what must be looked at first, and the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from training.exploration.duplicates import LEAST_ALIKE
from training.exploration.explore import Exploration, Same
from training.exploration.shortcuts import Shortcut

_FEW = 50  # images of a split by which nothing should be chosen
_MENTIONED = 4
# From here on, several numbers together are worth a warning.
_TELLING_TOGETHER = 0.75


def alarms(found: Exploration) -> list[str]:
    """What must be looked at before the data are used, the worst first."""
    return [
        *_contradictions(found),
        *_same_across_splits(found),
        *_patients_across_splits(found),
        *_under_two_names(found),
        *_short_cuts(found),
        *_turned_away(found),
    ]


def notes(found: Exploration) -> list[str]:
    """What is good to know, and what was looked for and not found."""
    return [
        *_balance(found),
        *_patients(found),
        *_copies(found),
        *_splits_apart(found),
        *_small_splits(found),
        *_not_telling(found),
        *_oddities(found),
    ]


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(parts: Iterable[str]) -> str:
    """Parts of a sentence: a, b and c."""
    *most, last = list(parts)
    return f"{', '.join(most)} and {last}" if most else last


def direction(cut: Shortcut) -> str:
    """In which class the number is the higher one."""
    more = "more often" if cut.yes_or_no else "higher"
    return f"{more} in {higher_in(cut)}"


def higher_in(cut: Shortcut) -> str:
    """The class with the higher numbers."""
    return "pneumonia" if cut.auc >= 0.5 else "normal"  # noqa: PLR2004 - of an AUC


def how(same: Same) -> str:
    """In which way files are the same."""
    return "byte for byte" if same.identical else "stored again"


def _contradictions(found: Exploration) -> list[str]:
    wrong = [each for each in found.same if each.contradictory]
    if not wrong:
        return []
    first = wrong[0]
    one = first.files[0]
    other = next(each for each in first.files if each.kind != one.kind)
    return [
        (
            f"{plural(len(wrong), 'picture lies', 'pictures lie')} here under labels that cannot both be true: "
            f"{one.name} is called {one.kind}, {other.name} {other.kind}, and they show the same "
            f"({how(first)})."
        )
    ]


def _same_across_splits(found: Exploration) -> list[str]:
    sentences = []
    for identical, words in ((True, "byte for byte"), (False, "stored again in another form")):
        across = [each for each in found.same if each.identical is identical and len(each.splits) > 1]
        if across:
            where = listed(sorted({split for each in across for split in each.splits}))
            sentences.append(
                f"{plural(len(across), 'picture is', 'pictures are')} in more than one split ({where}), "
                f"{words}: what is measured there was learnt by heart."
            )
    return sentences


def _patients_across_splits(found: Exploration) -> list[str]:
    across = found.patients_across()
    if not across:
        return []
    where = listed(sorted({each.split for images in across.values() for each in images}))
    said = f"{plural(len(across), 'patient has', 'patients have')} images in more than one split ({where}). "
    unlike = [each for each in found.check_patients if not each.same_split and each.kin is False]
    if unlike and not any(each.kin for each in found.check_patients if not each.same_split):
        return [
            (
                f"By their names, {said}Yet these are no more alike than strangers' (AUC {unlike[0].auc:.2f} of "
                f"{unlike[0].pairs:,} pairs): each split is probably numbered afresh."
            )
        ]
    return [f"{said}If each split is numbered afresh, the same name may be another person: look at them."]


def _under_two_names(found: Exploration) -> list[str]:
    double = [each for each in found.same if len(each.patients) > 1]
    if not double:
        return []
    return [
        (
            f"{plural(len(double), 'picture is', 'pictures are')} filed under more than one patient "
            f"({listed(double[0].patients)}): folds by patient would not keep them together."
        )
    ]


def _short_cuts(found: Exploration) -> list[str]:
    sentences = []
    telling = [each for each in found.shortcuts if each.telling]
    if telling:
        told = [f"{each.words} (AUC {each.strength:.2f}, {direction(each)})" for each in telling]
        more = [f"{len(told) - _MENTIONED} more"] if len(told) > _MENTIONED else []
        count = "One number alone tells" if len(told) == 1 else f"Each of {len(told)} numbers alone tells"
        sentences.append(
            f"{count} pneumonia from normal: {listed([*told[:_MENTIONED], *more])}. "
            "A network may learn that, or what lies behind it, instead of lungs."
        )
    worth = {each.name: each for each in found.together}
    if "exposure" in worth and worth["exposure"].auc >= _TELLING_TOGETHER:
        evened = f", {worth['exposure_evened'].auc:.2f} after preprocessing"
        sentences.append(
            f"Five numbers on exposure, and no picture, reach AUC {worth['exposure'].auc:.2f} on patients "
            f"that they were not fitted to{evened}: a network has to be better than that to have seen a lung."
        )
    return sentences


def _turned_away(found: Exploration) -> list[str]:
    away = found.survey.turned_away
    if not away:
        return []
    reasons = Counter(each.code.replace("_", " ") for each in away).most_common()
    why = listed(f"{count:,} {reason}" for reason, count in reasons)
    return [f"{len(away):,} of {plural(len(found.inventory.images), 'image')} cannot be used: {why}."]


def _balance(found: Exploration) -> list[str]:
    counted = Counter(each.kind for each in found.inventory.images)
    total, normal = counted.total(), counted["normal"]
    kinds = [f"{counted[kind]:,} {kind}" for kind in ("bacterial", "viral") if counted[kind]]
    if kinds and counted["pneumonia"]:
        kinds.append(f"{counted['pneumonia']:,} of unknown kind")
    said = f" ({listed(kinds)})" if kinds else ""
    share = (total - normal) / total
    return [
        f"{100 * share:.0f} % of {plural(total, 'image')} show pneumonia: {total - normal:,}{said}, against {normal:,} normal."
    ]


def _patients(found: Exploration) -> list[str]:
    images_of = found.images_of()
    if len(images_of) == len(found.inventory.images):
        return ["No patient has two images, as far as the names say."]
    most = max(images_of, key=lambda who: len(images_of[who]))
    several = sum(len(images) > 1 for images in images_of.values())
    sentences = [
        (
            f"The images are of {plural(len(images_of), 'patient')}, {several:,} of them with several; "
            f"{most} has {len(images_of[most])}. Images of one patient belong into one fold."
        )
    ]
    for one, other in (("bacterial", "viral"), ("normal", "pneumonia")):
        both = found.patients_of_both(one, other)
        if both:
            sentences.append(f"{plural(both, 'patient has', 'patients have')} both {one} and {other} images.")
    return [*sentences, *_not_kin(found)]


def _not_kin(found: Exploration) -> list[str]:
    """One name for several people: per label, since that per split is said with the splits."""
    worth = {each.same_label: each for each in found.check_patients if each.same_split}
    if True not in worth or False not in worth or not worth[True].kin or worth[False].kin is not False:
        return []
    return [
        (
            f"Images under one patient's name and different labels are no more alike than strangers' (AUC "
            f"{worth[False].auc:.2f} of {worth[False].pairs:,} pairs; {worth[True].auc:.2f} under one label): patients "
            "are probably numbered afresh for each label, and a split by these names keeps more apart than it must."
        )
    ]


def _copies(found: Exploration) -> list[str]:
    identical = [each for each in found.same if each.identical]
    again = [each for each in found.same if not each.identical]
    if not found.same:
        return [f"No picture is there twice.{_near_miss(found)}"]
    sentences = []
    if identical:
        surplus = sum(len(each.files) - 1 for each in identical)
        sentences.append(
            f"{plural(len(identical), 'picture is', 'pictures are')} there more than once, byte for byte, "
            f"{plural(surplus, 'file')} too many{_harmless(identical)}"
        )
    if again:
        sentences.append(
            f"{plural(len(again), 'picture was', 'pictures were')} stored again in another size, quality or "
            f"exposure{_harmless(again)}"
        )
    else:
        sentences.append(f"No picture was stored again in another form.{_near_miss(found)}")
    return sentences


def _harmless(same: Sequence[Same]) -> str:
    if any(each.contradictory or len(each.splits) > 1 or len(each.patients) > 1 for each in same):
        return "."
    return ": each within one patient and one split, and under one label. They count double in training."


def _near_miss(found: Exploration) -> str:
    if not found.near_misses:
        return ""
    _, _, likeness = found.near_misses[0]
    return f" The two most alike that differ reach {likeness:.2f}, where {LEAST_ALIKE:.2f} makes a copy."


def _splits_apart(found: Exploration) -> list[str]:
    splits = found.splits
    if len(splits) == 1:
        return [] if splits == ["all"] else [f"There is one split, {splits[0]}: nothing to leak into."]
    sentences = []
    if not any(len(each.splits) > 1 for each in found.same):
        sentences.append(f"No picture is in two of the splits {listed(splits)}.")
    if not found.patients_across():
        sentences.append("No patient is in two splits, as far as the names say.")
    return sentences


def _small_splits(found: Exploration) -> list[str]:
    sizes = {split: sum(kinds.values()) for split, kinds in found.counts().items()}
    return [
        f"The split {split} has {plural(size, 'image')}: too few to choose anything by."
        for split, size in sizes.items()
        if size < _FEW and split != "all"
    ]


def _not_telling(found: Exploration) -> list[str]:
    if not found.shortcuts or any(each.telling for each in found.shortcuts):
        return []
    strongest = found.shortcuts[0]
    return [
        (
            f"No single number tells pneumonia from normal; the strongest is {strongest.words} "
            f"(AUC {strongest.strength:.2f}, {direction(strongest)})."
        )
    ]


def _oddities(found: Exploration) -> list[str]:
    sentences = []
    if found.inventory.ignored:
        count = len(found.inventory.ignored)
        sentences.append(
            f"{plural(count, 'file or folder', 'files or folders')} beside the images will not be read."
        )
    ages = found.unlikely_ages()
    if ages:
        sentences.append(f"{plural(len(ages), 'image has', 'images have')} an age that no person reaches.")
    return sentences
