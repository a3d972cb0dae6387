"""How the ledger's values are said on a page: names, times, probabilities, findings."""

from __future__ import annotations

import unicodedata
from datetime import datetime

from flask import Flask
from markupsafe import Markup

from worker.ledger.review import Action, Finding, finding_of
from worker.ledger.tables import Image

FINDINGS = {Finding.SIGNS: "signs of pneumonia", Finding.NO_SIGNS: "no signs"}
VERDICTS = {"flagged": ("▲", "flagged"), "uncertain": ("◆", "uncertain"), "clear": ("○", "clear")}
STATES = {
    "pending": "waits to be scored",
    "leased": "is being scored",
    "scored": "scored",
    "rejected": "turned away",
    "quarantined": "set aside",
}
# Control characters, and those that reorder text: a name must not disguise itself (Unicode TR 36, 3.3).
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def install(app: Flask) -> None:
    """Make the filters and label tables of this module available to the templates."""
    app.add_template_filter(visible, "visible")
    app.add_template_filter(when, "when")
    app.add_template_filter(probability, "probability")
    app.add_template_filter(duration, "duration")
    app.add_template_filter(FINDINGS.get, "finding")
    app.add_template_global(finding_if, "finding_if")
    app.jinja_env.globals.update(VERDICTS=VERDICTS, STATES=STATES)


def visible(text: str) -> str:
    """A name as it may be shown: what cannot be seen, or turns text around, becomes U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(letter) in _HIDDEN else letter for letter in text)


def when(at: datetime | None) -> str:
    """A time: UTC to read, local time on hovering; a dash for none."""
    if at is None:
        return "\N{EN DASH}"
    iso = at.isoformat(timespec="seconds")
    local = at.astimezone().strftime("%Y-%m-%d %H:%M:%S local time")
    shown = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, local, shown)


def probability(value: float) -> str:
    """A probability with two decimals, never rounded to certainty."""
    if 0 < value < 0.005:  # noqa: PLR2004 - half of the last decimal shown
        return "<0.01"
    if 0.995 <= value < 1:  # noqa: PLR2004
        return ">0.99"
    return f"{value:.2f}"


def duration(seconds: float) -> str:
    """A span of time in its two largest units."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def finding_if(image: Image, action: str) -> str:
    """What confirming or overriding this image's verdict would say."""
    return FINDINGS[finding_of(image.verdict or "", Action(action))]


def as_sentence(error: Exception) -> str:
    """Return an exception's message as a sentence: a capital letter first, a full stop last."""
    text = str(error)
    return text if text.endswith(".") else f"{text[:1].upper()}{text[1:]}."
