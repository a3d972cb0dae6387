"""The words, labels and number formats of every page."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable
from datetime import datetime

from flask import Flask
from markupsafe import Markup

from worker.card.band import is_far
from worker.durations import duration
from worker.imagefile.identity import AgeSource
from worker.ledger.findings import Finding, NotJudged
from worker.ledger.leases import retry_may_help
from worker.ledger.point_groups import title_of
from worker.ledger.states import ImageState, is_to_read
from worker.ledger.tables import Review

# A score has no more decimals on any page.
_MOST_DECIMALS = 8
# The one table of the words that people read for each state and verdict (docs/glossary.md).
STATES = {
    ImageState.PENDING: "pending",
    ImageState.LEASED: "being scored",
    ImageState.SCORED: "scored",
    ImageState.REJECTED: "rejected",
    ImageState.QUARANTINED: "quarantined",
    ImageState.ERASED: "erased",
}
VERDICTS = {"flagged": "flagged", "uncertain": "uncertain", "clear": "clear"}
VERDICT_SYMBOLS = {"flagged": "▲", "uncertain": "◆", "clear": "○"}
AGE_SOURCES = {
    AgeSource.PATIENT_AGE: "as stated by the device",
    AgeSource.BIRTH_AND_STUDY_DATE: "from the dates of birth and study",
    AgeSource.SIDECAR: "from a sidecar file",
    AgeSource.FORM: "as given with the upload",
}
SEXES = {"F": "female", "M": "male", "O": "other"}
LATERALITIES = {"R": "right", "L": "left", "U": "unpaired", "B": "both sides"}
FINDINGS = {
    Finding.SIGNS: "signs of pneumonia",
    Finding.NO_SIGNS: "no signs",
    Finding.NOT_JUDGED: "cannot be judged",
    Finding.SECOND_OPINION: "second opinion wanted",
}
NOT_JUDGED = {
    NotJudged.INADEQUATE: "technically inadequate",
    NotJudged.WRONG_VIEW: "wrong view",
    NotJudged.NOT_A_CHEST: "not a chest",
}
# The findings as forms send them, on the keys from 1 on. No key means anything else on any image.
CHOICES: tuple[tuple[str, str], ...] = (
    (Finding.SIGNS, "Signs of pneumonia"),
    (Finding.NO_SIGNS, "No signs"),
    *((f"{Finding.NOT_JUDGED}/{reason}", words.capitalize()) for reason, words in NOT_JUDGED.items()),
    (Finding.SECOND_OPINION, "Second opinion wanted"),
)
# Unicode categories of control, format and unassigned characters and line breaks. Some of them reorder
# the text around them, so that a file name could look like another one (Unicode TR 36, 3.3).
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def install(app: Flask) -> None:
    """Make the filters and label tables of this module available to the templates."""
    app.add_template_filter(visible, "visible")
    app.add_template_filter(when, "when")
    app.add_template_filter(probability, "probability")
    app.add_template_filter(percent, "percent")
    app.add_template_filter(exact_probability, "exact_probability")
    app.add_template_filter(limit, "limit")
    app.add_template_filter(distance, "distance")
    app.add_template_filter(duration, "duration")
    app.add_template_filter(age, "age")
    app.add_template_filter(AGE_SOURCES.get, "age_source")
    app.add_template_filter(SEXES.get, "sex")
    app.add_template_filter(LATERALITIES.get, "laterality")
    app.add_template_filter(finding, "finding")
    app.add_template_filter(title_of, "group_title")
    app.add_template_filter(choice, "choice")
    app.add_template_filter(reason_words, "reason_words")
    app.add_template_test(retry_may_help, "worth_a_retry")
    app.add_template_test(lambda image: is_to_read(image.review_state, image.verdict), "to_read")
    app.jinja_env.globals.update(
        decimals_beside=decimals_beside,
        STATES=STATES,
        VERDICTS=VERDICTS,
        VERDICT_SYMBOLS=VERDICT_SYMBOLS,
        CHOICES=CHOICES,
    )


def visible(text: str) -> str:
    """Replace characters that are invisible, or that reorder text, by U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(letter) in _HIDDEN else letter for letter in text)


def when(at: datetime | None) -> str:
    """Return a time element that shows UTC and says so; a dash for None. `page.js` shows the browser's local time."""
    if at is None:
        return "\N{EN DASH}"
    iso = at.isoformat(timespec="seconds")
    utc = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(iso, utc)


def probability(value: float, decimals: int = 2) -> str:
    """Return a score or another probability with two decimals, or more. None reads 0.00 or 1.00: no model is certain."""
    last = 10**-decimals
    if value < last / 2:
        return f"<{last:.{decimals}f}"
    if value >= 1 - last / 2:
        return f">{1 - last:.{decimals}f}"
    return f"{value:.{decimals}f}"


def percent(value: float) -> str:
    """Return a probability in whole per cent. None reads 0 or 100 %."""
    whole = probability(value)
    return f"{whole[0]}{int(whole[-2:])} %" if whole[0] in "<>" else f"{100 * value:.0f} %"


def exact_probability(value: float, least: int = 2) -> str:
    """Return a probability with enough decimals to tell it from 0 and 1, and from others near them: `least` to eight.

    What is nearer to them reads as `probability` writes it.
    """
    rest = min(value, 1 - value)
    return limit(value, least) if rest >= 1e-8 else probability(value, least)  # noqa: PLR2004 - one in the last decimal


def limit(value: float, least: int = 2) -> str:
    """Return a limit of scores as `exact_probability` does. Exactly 0 and 1 read 0.00 and 1.00."""
    return f"{value:.{max(least, _decimals(value))}f}"


def decimals_beside(scores: Iterable[float], limits: Iterable[float], least: int = 2) -> int:
    """Return with how many decimals, `least` to eight, scores and limits must be written where both can be seen.

    These are as few as show of each score whether it is below each limit. A score that reads like a limit is not below it.
    """
    pairs = list(itertools.product(scores, limits := tuple(limits)))
    first = max([least, *map(_decimals, limits)])
    return next((number for number in range(first, _MOST_DECIMALS) if _tells(pairs, number)), _MOST_DECIMALS)


def distance(value: float) -> str:
    """Return a distance from the training data: two to six decimals, as few as show whether it is beyond the limit, 1."""
    numbers = (f"{value:.{decimals}f}" for decimals in range(2, 7))
    return next((text for text in numbers if is_far(float(text)) == is_far(value)), f"{value:.6f}")


def _decimals(value: float) -> int:
    rest = min(value, 1 - value)
    return 2 if rest >= 0.01 or rest <= 0 else min(_MOST_DECIMALS, math.ceil(-math.log10(rest)) + 1)  # noqa: PLR2004


def _tells(pairs: Iterable[tuple[float, float]], decimals: int) -> bool:
    def shown(value: float) -> float:
        return float(f"{value:.{decimals}f}")

    return all((shown(score) < shown(edge)) == (score < edge) for score, edge in pairs)


def age(years: float) -> str:
    """Return an age in years, or in months below two years."""
    months = round(12 * years)
    if months < 24:  # noqa: PLR2004 - as in DICOM's Age String
        return "1 month" if months == 1 else f"{months} months"
    return f"{years:g} years"


def reason_words(code: str) -> str:
    """Return the code of a reason as words: `not_a_chest` is "not a chest", `dicom_colour` "DICOM colour"."""
    return code.replace("_", " ").replace("dicom", "DICOM").replace("cmyk", "CMYK")


def finding(reading: Review) -> str:
    """Return the finding of a reading in words, with its reason."""
    words = FINDINGS[Finding(reading.finding or "")]
    return f"{words}: {NOT_JUDGED[NotJudged(reading.reason_code)]}" if reading.reason_code else words


def choice(reading: Review) -> str:
    """Return the finding of a reading as forms send it: see `CHOICES`."""
    return f"{reading.finding}/{reading.reason_code}" if reading.reason_code else str(reading.finding)


def as_sentence(error: Exception) -> str:
    """Return an exception's message as a sentence: a capital letter first, a full stop last."""
    text = str(error)
    return text if text.endswith(".") else f"{text[:1].upper()}{text[1:]}."
