"""Verifies and describes a model bundle, without loading its network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.card.identity import FILM, LUNGS, NETWORK, is_shipped, model_sha256
from worker.card.loading import CARD, load_card, parse_section
from worker.card.population import AgeRange
from worker.card.schema import ScoringCard
from worker.errors import ModelUnusable
from worker.inference.preprocess import VERSIONS
from worker.inference.second_look import VIEWS, SecondLook
from worker.inference.triage import OperatingPoint

LABELS = ("normal", "bacterial", "viral")
# The file that each runtime loads.
RUNTIME_FILES = {"litert": NETWORK, "tensorflow": "model.keras"}
# The same for the network that sees the whole film, if the bundle has one.
FILM_FILES = {"litert": FILM, "tensorflow": "film.keras"}


@dataclass(frozen=True)
class Bundle:
    """A verified model bundle: the hash of every file is the one on its card.

    Attributes:
        folder: the folder of the bundle.
        name: for example `nightread`.
        version: for example `0.1.0`.
        sha256: identity of the model, over all that scores depend on. It is recorded with every prediction.
        network_sha256: SHA-256 of `model.tflite`, in hex.
        side: edge of the square input, in pixels.
        labels: the three outputs, in order.
        preprocessing_version: one of `preprocess.VERSIONS`: how its input is made.
        temperature: the divisor of the logits before the softmax (Guo et al., ICML 2017).
        operating_points: name -> operating point.
        default_operating_point: name of the operating point that is used unless the settings name another.
        second_look: the range of scores that get a second look; None: no second look.
        ages: the ages for which the figures hold; None: the card states none.
        card: all of card.json.
    """

    folder: Path
    name: str
    version: str
    sha256: str
    network_sha256: str
    side: int
    labels: tuple[str, ...]
    preprocessing_version: str
    temperature: float
    operating_points: dict[str, OperatingPoint]
    default_operating_point: str
    second_look: SecondLook | None
    ages: AgeRange | None
    card: dict[str, Any]

    def file(self, runtime: str) -> Path:
        """Return the path of the file for a runtime, which is a key of `RUNTIME_FILES`."""
        return self.folder / RUNTIME_FILES[runtime]

    def film_file(self, runtime: str) -> Path | None:
        """Return the path of the film network for a runtime; None: the bundle has no film network."""
        return self.folder / FILM_FILES[runtime] if FILM in self.card["files"] else None

    @property
    def verified(self) -> bool:
        """Whether Nightread ships this model with this card."""
        return is_shipped(self.sha256, self.card)

    @property
    def operating_point(self) -> OperatingPoint:
        """The default operating point."""
        return self.operating_points[self.default_operating_point]


def load_bundle(folder: Path, runtime: str = "litert", pinned: str = "") -> Bundle:
    """Read and verify a model bundle.

    Args:
        folder: contains card.json and the files that it names.
        runtime: `litert` or `tensorflow`; the card must name the file for this runtime.
        pinned: the only identity that is allowed; empty: any.

    Raises:
        ModelUnusable: with one sentence that names the folder and the fault.
    """
    if runtime not in RUNTIME_FILES:
        raise ModelUnusable(f"There is no runtime {runtime!r}; choose one of {', '.join(RUNTIME_FILES)}.")
    raw = load_card(folder)
    card = parse_section(ScoringCard, raw, folder)
    _verify_meaning(folder, card)
    _verify_files(folder, card, runtime)
    sha256 = model_sha256(raw)
    if pinned and sha256 != pinned:
        raise ModelUnusable(
            f"The model in {folder} has the SHA-256 {sha256}; NIGHTREAD_MODEL_SHA256 allows only {pinned}."
        )
    return Bundle(
        folder=folder,
        name=card.name,
        version=card.version,
        sha256=sha256,
        network_sha256=card.files[RUNTIME_FILES["litert"]].sha256,
        side=card.input.side,
        labels=tuple(card.labels),
        preprocessing_version=card.input.preprocessing_version,
        temperature=card.calibration.temperature,
        operating_points=_operating_points(folder, card),
        default_operating_point=card.default_operating_point,
        second_look=_second_look(folder, card),
        ages=_ages(card),
        card=raw,
    )


def _verify_meaning(folder: Path, card: ScoringCard) -> None:
    if tuple(card.labels) != LABELS:
        raise ModelUnusable(
            f"The model in {folder} has the outputs {', '.join(card.labels)}; they must be {', '.join(LABELS)}."
        )
    if card.input.preprocessing_version not in VERSIONS:
        raise ModelUnusable(
            f"The model in {folder} needs preprocessing {card.input.preprocessing_version}; "
            f"this program has preprocessing {' and '.join(VERSIONS)}."
        )
    if card.default_operating_point not in card.operating_points:
        raise ModelUnusable(
            f"The default operating point {card.default_operating_point!r} of the model in {folder} "
            "is not one of its operating points."
        )


def _verify_files(folder: Path, card: ScoringCard, runtime: str) -> None:
    needed = [RUNTIME_FILES["litert"], RUNTIME_FILES[runtime]]
    if set(FILM_FILES.values()) & set(card.files):
        # The average needs the network that sees the lungs.
        needed += [FILM_FILES["litert"], FILM_FILES[runtime], LUNGS]
    for name in dict.fromkeys(needed):
        if name not in card.files:
            raise ModelUnusable(f"{CARD} in {folder} does not name {name}.")
    for name, expected in card.files.items():
        if Path(name).name != name:
            raise ModelUnusable(f"{CARD} in {folder} names {name!r}, which is not a file in that folder.")
        try:
            actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            raise ModelUnusable(f"The model folder {folder} has no {name}, which its card names.") from None
        except OSError as error:
            raise ModelUnusable(f"{name} in {folder} cannot be read: {error.strerror}.") from error
        if actual != expected.sha256:
            raise ModelUnusable(
                f"{name} in {folder} is not the file that its card names: its sha256 is "
                f"{actual[:12]}..., the card says {expected.sha256[:12]}...."
            )


def _second_look(folder: Path, card: ScoringCard) -> SecondLook | None:
    section = card.second_look
    if section is None:
        return None
    if tuple(section.views) != VIEWS:
        raise ModelUnusable(
            f"The second look of the model in {folder} has the views {', '.join(section.views) or 'none'}; "
            f"this program can make {', '.join(VIEWS)}."
        )
    try:
        return SecondLook(section.low, section.high)
    except ValueError as error:
        raise ModelUnusable(f"{CARD} in {folder} has a wrong {error}.") from None


def _ages(card: ScoringCard) -> AgeRange | None:
    if card.population is None:
        return None
    return AgeRange(card.population.age_years.min, card.population.age_years.max)


def _operating_points(folder: Path, card: ScoringCard) -> dict[str, OperatingPoint]:
    try:
        return {
            name: OperatingPoint(
                name,
                point.threshold,
                point.band_low,
                point.band_high,
                point.sensitivity,
                point.specificity,
                point.flagged_share,
            )
            for name, point in card.operating_points.items()
        }
    except ValueError as error:
        raise ModelUnusable(f"{CARD} in {folder} has a wrong {error}.") from None
