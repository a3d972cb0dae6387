"""Says in words how the grey scale of a picture came about."""

from __future__ import annotations

from worker.dicom.facts import GreyFacts, Note, Spacing, SpacingAt, Voi

_NOTES = {
    Note.INTERCEPT_MISSING: "The rescale intercept is missing and counts as 0.",
    Note.SLOPE_MISSING: "The rescale slope is missing and counts as 1.",
    Note.LUT_UNUSABLE: "The object's VOI LUT cannot be used.",
    Note.LUT_COVERS_TOO_LITTLE: "The object's VOI LUT covers too little of the values.",
    Note.WINDOW_UNUSABLE: "The object's window cannot be used.",
    Note.WINDOW_COVERS_TOO_LITTLE: "The object's window covers too little of the values.",
    Note.FUNCTION_UNKNOWN: "The object's VOI LUT function is not known and counts as linear.",
}
_PLACES = {
    SpacingAt.PATIENT: "at the patient",
    SpacingAt.DETECTOR: "at the detector",
    SpacingAt.UNSTATED: "not stated whether at the detector or at the patient",
}


def described(facts: GreyFacts) -> str:
    """Return what the picture is shown by, with a sentence for each thing that was not taken as the object states it."""
    return " ".join([f"{_shown_by(facts)}.", *(_NOTES[note] for note in facts.notes)])


def measured_at(spacing: Spacing) -> str:
    """Return where the pixel spacing was measured."""
    return _PLACES[spacing.at]


def _shown_by(facts: GreyFacts) -> str:
    ending = ", inverted" if facts.inverted else ""
    if facts.voi is Voi.LUT:
        return f"VOI LUT{_which(facts)}{ending}"
    if facts.voi is Voi.WINDOW:
        function = "" if facts.function == "LINEAR" else f", {str(facts.function).lower().replace('_', ' ')}"
        return f"Window {facts.center} / {facts.width} (level / width){_which(facts)}{function}{ending}"
    return f"Range of its own values, {facts.voi_low} to {facts.voi_high}{ending}"


def _which(facts: GreyFacts) -> str:
    return f", {facts.voi_number} of {facts.voi_count}" if facts.voi_count > 1 else ""
