"""worker.inference.distance: how far an image is from the training data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import WHOLE_FILMS, with_distance
from tests.fixtures import FEATURES_NETWORK, LUNG_NETWORK
from worker.card.identity import DISTANCE, NETWORK
from worker.card.loading import CARD
from worker.errors import ModelUnusable
from worker.inference.bundle import load_bundle
from worker.inference.classifier import Classifier
from worker.inference.distance import (
    FINENESS,
    DistanceMeasure,
    Reference,
    open_distance,
    read_reference,
)
from worker.inference.runtime import LiteRtRuntime

CHANNELS, STEP = 6, 1 / 8


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_distance(tmp_path_factory.mktemp("models") / "far", limit=100.0)


def one(seed: int = 1) -> tuple[Reference, NDArray[np.float64]]:
    """Return a reference with two means, and its whitening matrix as real numbers."""
    rng = np.random.default_rng(seed)
    whitening = np.tril(rng.normal(0, 0.001, (CHANNELS, CHANNELS)))
    means = rng.integers(-5_000, 5_000, (2, CHANNELS))
    return Reference(STEP, means, np.rint(whitening * 2.0**FINENESS).astype(np.int64)), whitening


def features(count: int, seed: int = 2) -> NDArray[np.float32]:
    """Return features of 4 x 4 places that a network of 8 bits could give."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-128, 128, (count, 4, 4, CHANNELS)) * 0.37).astype(np.float32)


def test_distance_is_that_of_mahalanobis_to_the_nearest_mean() -> None:
    reference, whitening = one()
    given = features(50)
    sums = given.sum(axis=(1, 2)) / STEP
    expected = np.min(
        [np.linalg.norm((sums - mean) @ whitening.T, axis=1) for mean in reference.means], axis=0
    )
    measured = reference.measure(given)
    assert measured.shape == (50,)
    assert np.abs(measured / expected - 1).max() < 0.01
    assert (
        len({bool(value) for value in np.argmin([np.abs(sums - m).sum(1) for m in reference.means], axis=0)})
        == 2
    )


def test_distance_of_known_integers_is_the_same_number_everywhere() -> None:
    whitening = np.array([[3, 0], [1, 2]], dtype=np.int64) << (FINENESS - 4)
    reference = Reference(0.5, np.array([[10, -4]]), whitening)
    given = np.array([[[[7.0, 1.0]]], [[[5.0, -2.0]]]], dtype=np.float32)
    # 14 and 2 in steps, 4 and 6 from the mean: 3 x 4 / 16 = 0.75 and (4 + 2 x 6) / 16 = 1.
    assert reference.measure(given).tolist() == [1.25, 0.0]
    assert DistanceMeasure(reference, 2.0).measure(given).tolist() == [0.625, 0.0]


def test_distance_does_not_depend_on_the_other_images() -> None:
    reference, _ = one()
    given = features(9)
    alone = [float(reference.measure(given[i : i + 1])[0]) for i in range(9)]
    assert reference.measure(given).tolist() == alone


def test_distance_of_absurd_features_is_large_and_finite() -> None:
    reference, _ = one()
    huge = np.full((1, 4, 4, CHANNELS), 1e6, dtype=np.float32)
    assert 1e3 < reference.measure(huge)[0] < np.inf


def test_same_numbers_give_the_same_file(tmp_path: Path) -> None:
    reference, _ = one()
    for name in ("a.npz", "b.npz"):
        reference.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read = read_reference(tmp_path / "a.npz")
    assert read.measure(features(5)).tolist() == reference.measure(features(5)).tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"step": np.float64(0)},
        {"step": np.float64("nan")},
        {"means": np.zeros((0, CHANNELS), np.int32)},
        {"means": np.zeros((2, CHANNELS), np.float64)},
        {"whitening": np.zeros((CHANNELS, CHANNELS - 1), np.int32)},
        {"whitening": np.zeros((CHANNELS, CHANNELS), np.int64)},
    ],
)
def test_file_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    sound: dict[str, object] = {
        "step": np.float64(1),
        "means": np.zeros((2, CHANNELS), np.int32),
        "whitening": np.zeros((CHANNELS, CHANNELS), np.int32),
    }
    path = tmp_path / DISTANCE
    np.savez(path, **sound)  # type: ignore[arg-type]
    read_reference(path)
    np.savez(path, **(sound | change))  # type: ignore[arg-type]
    with pytest.raises(
        ModelUnusable, match=r"does not hold a step, class means and a whitening matrix that fit"
    ):
        read_reference(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken off"])
def test_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DISTANCE).write_bytes(content)
    with pytest.raises(ModelUnusable, match=r"cannot be read"):
        read_reference(tmp_path / DISTANCE)


def test_archive_without_a_part_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / DISTANCE, step=np.float64(1))
    with pytest.raises(ModelUnusable, match=r"cannot be read"):
        read_reference(tmp_path / DISTANCE)


def test_card_must_have_section_and_file(bundle: Path) -> None:
    card = json.loads((bundle / CARD).read_text())
    opened = open_distance(bundle, card)
    assert opened is not None
    assert opened.limit == 100.0
    for missing in ("distance", "files"):
        with pytest.raises(ModelUnusable, match=r"must have both or neither"):
            open_distance(bundle, {**card, missing: {}} if missing == "files" else {"files": card["files"]})
    assert open_distance(bundle, {"files": {}}) is None
    with pytest.raises(ModelUnusable, match=r"wrong at distance\.limit"):
        open_distance(bundle, card | {"distance": {"limit": 0.0}})


def test_classifier_says_the_distance_and_scores_as_before(bundle: Path) -> None:
    inputs = np.random.default_rng(3).integers(0, 256, (4, 128, 128), dtype=np.uint8)
    classifier = Classifier(load_bundle(bundle))
    scores = classifier.predict_batch(inputs)
    assert scores.distance is not None
    assert scores.distance.shape == (4,)
    assert scores.distance.tolist() == np.round(scores.distance, 6).tolist()
    alone = classifier.predict_batch(inputs[2:3])
    assert alone.distance is not None
    assert alone.distance[0] == scores.distance[2]
    none = classifier.predict_batch(inputs[:0])
    assert none.distance is not None
    assert len(none.distance) == 0
    evidence, _ = LiteRtRuntime(FEATURES_NETWORK).run_with_features(inputs)
    assert np.array_equal(evidence, LiteRtRuntime(FEATURES_NETWORK).run(inputs))


def test_model_without_a_distance_says_none() -> None:
    inputs = np.zeros((1, 128, 128), dtype=np.uint8)
    assert Classifier(load_bundle(WHOLE_FILMS)).predict_batch(inputs).distance is None


def test_network_without_features_is_refused_at_once(tmp_path: Path) -> None:
    folder = with_distance(tmp_path / "m", limit=1.0)
    card = json.loads((folder / CARD).read_text())
    shipped = load_bundle(WHOLE_FILMS)
    (folder / NETWORK).write_bytes(shipped.file("litert").read_bytes())
    card["files"][NETWORK] = shipped.card["files"][NETWORK]
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(ModelUnusable, match=r"does not give the features"):
        Classifier(load_bundle(folder))


def test_network_of_another_width_is_refused_at_once(tmp_path: Path) -> None:
    import hashlib

    folder = with_distance(tmp_path / "m", limit=1.0)
    one()[0].save(folder / DISTANCE)
    card = json.loads((folder / CARD).read_text())
    card["files"][DISTANCE]["sha256"] = hashlib.sha256((folder / DISTANCE).read_bytes()).hexdigest()
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(ModelUnusable, match=r"has 12 features.*6"):
        Classifier(load_bundle(folder))


def test_lung_network_gives_no_features() -> None:
    with pytest.raises(ModelUnusable, match=r"does not give the features"):
        LiteRtRuntime(LUNG_NETWORK).run_with_features(np.zeros((1, 64, 64), np.uint8))
