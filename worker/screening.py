"""Screens chunks of images: leases them, loads and scores them, and records the results.

A chunk needs two transactions: one for the leases, one for the results.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import SystemRandom

import numpy as np
import structlog
from numpy.typing import NDArray

from worker.card.band import is_never_clear
from worker.card.population import Population, PopulationCheck
from worker.config import Settings
from worker.dicom.decoder import Decoder, bounds_of
from worker.dicom.reading import is_dicom
from worker.errors import ModelUnusable, RejectedImage, StoreAway, TransientFailure
from worker.imagefile.formats import Inspection
from worker.imagefile.limits import Limits, limits_of
from worker.inference.admission import Admission, Admitted, score_admitted
from worker.inference.bundle import Bundle, load_bundle
from worker.inference.classifier import Classifier
from worker.inference.film import Box
from worker.inference.preprocess import Picture
from worker.inference.triage import OperatingPoint, Verdict, confidence, triage
from worker.ledger import leases, predictions
from worker.ledger.leases import LeasedImage
from worker.ledger.predictions import ImageFacts, Part, RejectionRecord, ScoreRecord, ScoringModel
from worker.ledger.session import Ledger, ledger_time
from worker.recognition import inspect_bytes
from worker.store import Store, open_store

log = structlog.get_logger(__name__)

# A chunk begins no further image after this share of its lease. The rest is for the last image, which may take long, and
# for scoring those that are ready: when the lease ends, the process counts as hanging and is killed.
_BEGIN_WITHIN = 1 / 3


@dataclass(frozen=True)
class ScoringResult:
    """The scores of one image and its verdict at the operating point; probabilities are in 0..1.

    `activation` has the shape (h, w), 0..255. `distance` is as in `Prediction`.
    """

    p_normal: float
    p_bacterial: float
    p_viral: float
    p_pneumonia: float
    confidence: float
    verdict: str
    activation: NDArray[np.uint8]
    distance: float | None


@dataclass(frozen=True)
class Prepared:
    """The header facts of a file, and its model input.

    `population` says where the patient stands; None: nobody was checked. `greyscale` is as in `Prediction`.
    """

    inspection: Inspection
    admitted: Admitted
    population: Population | None = None
    greyscale: Mapping[str, object] | None = None


class Scorer:
    """A loaded model with its gate, at one operating point. Turns bytes into results; `decoder` has DICOM decoded."""

    def __init__(self, bundle: Bundle, point: OperatingPoint, runtime: str, decoder: Decoder) -> None:
        """Load the model and its gate. Raises ModelUnusable."""
        self.bundle = bundle
        self.point = point
        self._decoder = decoder
        self._classifier = Classifier(bundle, runtime)
        self._admission = Admission(bundle)

    @property
    def versions(self) -> dict[str, str]:
        """Name -> version of the software that the numbers depend on."""
        return self._classifier.versions

    def prepare(self, data: bytes, limits: Limits) -> Prepared:
        """Turn the bytes of a file into a model input that may be scored. Raises RejectedImage or TransientFailure."""
        inspection = inspect_bytes(data, limits)
        picture, greyscale = self._open(data)
        admitted = self._admission.admit(picture)
        _check_size(admitted.crop, limits)
        return _prepared(inspection, admitted, greyscale)

    def find_film(self, data: bytes) -> Box | None:
        """Return the part of the picture that is the film; None: all of it. Errors: as `prepare`."""
        picture, _ = self._open(data)
        return self._admission.admit(picture).crop

    def prepare_again(self, data: bytes, limits: Limits, preprocessing: str) -> Prepared:
        """Turn the bytes of a file that was scored before into its model input. Errors: as `prepare`.

        It is not checked again whether the file shows a complete frontal film: that check may be newer than
        the prediction. `preprocessing` is the version that the prediction was made with.
        """
        inspection = inspect_bytes(data, limits)
        picture, greyscale = self._open(data)
        return _prepared(inspection, self._admission.admit_again(picture, preprocessing), greyscale)

    def _open(self, data: bytes) -> tuple[Picture, Mapping[str, object] | None]:
        """Return the picture of a file, and of a DICOM object how its grey values were made."""
        if not is_dicom(data):
            return data, None
        grey = self._decoder.decode(data)
        return grey.grey8, grey.facts.as_dict()

    def score(self, images: Sequence[Prepared]) -> list[ScoringResult]:
        """Score prepared images."""
        if not images:
            return []
        scores = score_admitted(self._classifier, [image.admitted for image in images])
        distances = [None] * len(images) if scores.distance is None else scores.distance.tolist()
        return [
            self._result(row, p_pneumonia, activation, distance, image)
            for image, row, p_pneumonia, activation, distance in zip(
                images,
                scores.probabilities.tolist(),
                scores.p_pneumonia.tolist(),
                scores.activation,
                distances,
                strict=True,
            )
        ]

    def _result(
        self,
        row: list[float],
        p_pneumonia: float,
        activation: NDArray[np.uint8],
        distance: float | None,
        image: Prepared,
    ) -> ScoringResult:
        never_clear = is_never_clear(image.population, distance)
        verdict = triage(
            p_pneumonia, self.point, cropped=image.admitted.crop is not None, never_clear=never_clear
        )
        return ScoringResult(
            row[0], row[1], row[2], p_pneumonia, confidence(p_pneumonia), verdict.value, activation, distance
        )


class Screener:
    """Screens chunks of images, for one process. `model` is the model that it scores with."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        store: Store,
        scorer: Scorer,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Register the model in the ledger. Raises TransientFailure when the database is out of reach.

        `stopping` says whether the worker was asked to stop: then a chunk begins no further image.
        """
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._scorer = scorer
        self._stopping = stopping
        # Nobody must be able to tell beforehand which images are drawn.
        self._random = SystemRandom()
        self._limits = limits_of(settings)
        self._population = population_check(settings, scorer.bundle)
        self.model = _register(ledger, scorer)

    def screen(self, image_ids: Sequence[int]) -> int:
        """Screen the images that are pending. Those that are not begun in time, or before a stop, are pending again.

        Returns:
            The number of images whose result was recorded.

        Raises:
            TransientFailure: the store or the database failed. The images are pending again, or will be
                when their lease ends.
        """
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        with self._ledger.transaction(without_fsync=True) as session:
            started_at = ledger_time(session)
            leased = leases.lease(
                session, image_ids, owner=owner, lease_s=self._settings.lease_s, at=started_at
            )
        if not leased:
            return 0
        log.debug("leased images", images=[image.id for image in leased])
        try:
            examined, rejections = self._examine(leased, owner)
        except Exception as failure:
            self._release(leased, owner, failure)
            raise
        with self._ledger.transaction() as session:
            # The site may have put another operating point in force since this process started, or this chunk.
            scored = predictions.follow_site(session, self.model, examined)
            count = predictions.record(
                session,
                owner=owner,
                model=self.model,
                scored=scored,
                rejected=rejections,
                started_at=started_at,
                at=ledger_time(session),
                versions=self._scorer.versions,
                random=self._random,
            )
        log.info(
            "screened images",
            recorded=count,
            outcomes={row.image_id: row.verdict for row in scored}
            | {row.image_id: row.code for row in rejections},
        )
        return count

    def _examine(
        self, leased: Sequence[LeasedImage], owner: str
    ) -> tuple[list[ScoreRecord], list[RejectionRecord]]:
        ready: list[tuple[LeasedImage, Prepared, float]] = []
        rejections: list[RejectionRecord] = []
        until = time.monotonic() + _BEGIN_WITHIN * self._settings.lease_s
        for number, image in enumerate(leased):
            # However slow this machine is, one image is begun.
            if number and (self._stopping() or time.monotonic() >= until):
                self._hand_back(leased[number:], owner, "stopping" if self._stopping() else "no_time")
                break
            start = time.perf_counter()
            try:
                prepared = self._prepare(image)
            except RejectedImage as rejected:
                rejections.append(RejectionRecord(image.id, rejected.code, rejected.sentence))
            else:
                ready.append((image, prepared, 1e3 * (time.perf_counter() - start)))
        start = time.perf_counter()
        results = self._scorer.score([prepared for _, prepared, _ in ready])
        share_ms = 1e3 * (time.perf_counter() - start) / max(1, len(ready))
        scored = [
            _score_record(image, prepared, result, decode_ms + share_ms)
            for (image, prepared, decode_ms), result in zip(ready, results, strict=True)
        ]
        return scored, rejections

    def _hand_back(self, images: Sequence[LeasedImage], owner: str, code: str) -> None:
        ids = [image.id for image in images]
        with self._ledger.transaction() as session:
            leases.hand_back(session, ids, owner=owner, code=code, at=ledger_time(session))
        log.info("images are handed back", images=ids, reason=code)

    def _prepare(self, image: LeasedImage) -> Prepared:
        """Turn a stored image into a model input. A canary shows no patient. Raises RejectedImage."""
        population = None if image.canary else self._population.check(image.age_years)
        data = read_checked(self._store, image.id, image.sha256)
        return replace(self._scorer.prepare(data, self._limits), population=population)

    def _release(self, leased: Sequence[LeasedImage], owner: str, failure: Exception) -> None:
        if isinstance(failure, StoreAway):
            self._hand_back(leased, owner, "store_away")
            return
        transient = isinstance(failure, TransientFailure)
        reason = f"{failure}." if transient else f"Scoring failed: {type(failure).__name__}, {failure}."
        with self._ledger.transaction() as session:
            leases.release(
                session,
                [image.id for image in leased],
                owner=owner,
                code="store_failed" if transient else "scoring_failed",
                reason=reason[0].upper() + reason[1:],
                max_attempts=self._settings.max_attempts,
                at=ledger_time(session),
            )


def read_checked(store: Store, image_id: int, sha256: str) -> bytes:
    """Return the stored bytes of an image.

    Raises:
        RejectedImage: they are not those that arrived.
        StoreAway: the store is out of reach.
        TransientFailure: the store cannot read this file.
    """
    try:
        data = store.read(sha256)
    except OSError as error:
        store.check()
        raise TransientFailure(f"the image store cannot read image {image_id}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RejectedImage("changed_in_store")
    return data


def choose_point(settings: Settings, bundle: Bundle) -> OperatingPoint:
    """Return the operating point of the settings, or the default of the bundle. Raises ModelUnusable."""
    name = settings.operating_point or bundle.default_operating_point
    if name not in bundle.operating_points:
        names = ", ".join(sorted(bundle.operating_points))
        raise ModelUnusable(f"The model has no operating point {name!r}. It has {names}.")
    return bundle.operating_points[name]


def population_check(settings: Settings, bundle: Bundle) -> PopulationCheck:
    """Return the check of patients against the ages of the bundle's card, with the choices of the settings."""
    return PopulationCheck(bundle.ages, settings.outside_population, settings.unknown_age)


def open_scorer(settings: Settings) -> Scorer:
    """Verify and load the model of the settings. Raises ModelUnusable."""
    bundle = load_bundle(settings.model, settings.runtime, settings.model_sha256)
    return Scorer(bundle, choose_point(settings, bundle), settings.runtime, Decoder(bounds_of(settings)))


def open_screener(settings: Settings) -> Screener:
    """Make the screener of one worker process. Raises ModelUnusable or TransientFailure."""
    return Screener(settings, Ledger(settings.database), open_store(settings), open_scorer(settings))


def _register(ledger: Ledger, scorer: Scorer) -> ScoringModel:
    point = scorer.point
    with ledger.transaction() as session:
        return predictions.register_model(
            session,
            sha256=scorer.bundle.sha256,
            name=scorer.bundle.name,
            version=scorer.bundle.version,
            card=scorer.bundle.card,
            point_name=point.name,
            point={
                "threshold": point.threshold,
                "band_low": point.band_low,
                "band_high": point.band_high,
            },
            at=ledger_time(session),
        )


def _prepared(inspection: Inspection, admitted: Admitted, greyscale: Mapping[str, object] | None) -> Prepared:
    return Prepared(inspection, admitted, greyscale=greyscale)


def _check_size(film: Box | None, limits: Limits) -> None:
    if film is not None and min(film.width, film.height) < limits.min_side:
        raise RejectedImage("film_too_small", width=film.width, height=film.height, limit=limits.min_side)


def _score_record(
    image: LeasedImage, prepared: Prepared, result: ScoringResult, compute_ms: float
) -> ScoreRecord:
    height, width = result.activation.shape
    return ScoreRecord(
        image_id=image.id,
        p_normal=result.p_normal,
        p_bacterial=result.p_bacterial,
        p_viral=result.p_viral,
        p_pneumonia=result.p_pneumonia,
        confidence=result.confidence,
        # Nobody has to read what Nightread has drawn.
        verdict=Verdict.CLEAR.value if image.canary else result.verdict,
        canary=image.canary,
        activation=result.activation.tobytes(),
        map_height=height,
        map_width=width,
        compute_ms=compute_ms,
        facts=ImageFacts(**vars(prepared.inspection)),
        crop=_part(prepared.admitted.crop),
        lungs=_part(prepared.admitted.lungs),
        population=prepared.population,
        greyscale=prepared.greyscale,
        distance=result.distance,
    )


def _part(box: Box | None) -> Part | None:
    return None if box is None else Part(box.left, box.top, box.right, box.bottom)
