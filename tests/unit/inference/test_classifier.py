"""worker.inference.classifier and runtime: the shipped models, on phantoms."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import SHIPPED, WHOLE_FILMS
from worker.errors import ModelUnusable
from worker.inference.activation import FILM_MAP, FULL_SCALE
from worker.inference.admission import Admission, Admitted, score_admitted
from worker.inference.bundle import Bundle, load_bundle
from worker.inference.classifier import Classifier, Scores, scores_of
from worker.inference.runtime import (
    LiteRtRuntime,
    Runtime,
    TensorFlowRuntime,
    _without_notices,
    open_runtime,
)
from worker.phantom import draw_phantom

# TensorFlow is in the training environment alone.
RUNTIMES = ["litert", pytest.param("tensorflow", marks=pytest.mark.training)]
LABELS = 3


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda folder: folder.name)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load_bundle(request.param)


@pytest.fixture(scope="module")
def admitted(bundle: Bundle) -> list[Admitted]:
    admission = Admission(bundle)
    return [admission.admit(as_jpeg(seed)) for seed in range(33)]


def as_jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    draw_phantom(seed, width=256).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def classifier(bundle: Bundle) -> Classifier:
    return Classifier(bundle)


@pytest.fixture(scope="module")
def scores(classifier: Classifier, admitted: list[Admitted]) -> Scores:
    return score_admitted(classifier, admitted)


def places(bundle: Bundle) -> int:
    """Return the places on a side of the map: that of a model with lungs covers the film, that of another one the input."""
    return FILM_MAP if "lungs" in bundle.card else 8


def test_probabilities_add_up_to_one(scores: Scores, admitted: list[Admitted]) -> None:
    assert scores.probabilities.shape == (len(admitted), LABELS)
    assert scores.probabilities.dtype == np.float64
    assert np.all(scores.probabilities >= 0)
    assert scores.probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    assert np.all((scores.p_pneumonia >= 0) & (scores.p_pneumonia <= 1))
    assert scores.p_pneumonia == pytest.approx(1 - scores.probabilities[:, 0])


def test_different_images_have_different_scores(scores: Scores) -> None:
    assert len(np.unique(scores.p_pneumonia)) > len(scores) / 2


def test_activation_maps_are_bytes_on_a_fixed_scale(bundle: Bundle, scores: Scores) -> None:
    assert scores.activation.dtype == np.uint8
    assert scores.activation.shape == (len(scores), places(bundle), places(bundle))
    order = np.argsort(scores.p_pneumonia)
    brightness = scores.activation.mean(axis=(1, 2))
    assert brightness[order[:5]].mean() < brightness[order[-5:]].mean()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_same_image_gives_the_same_bits_in_any_batch(
    runtime: str, bundle: Bundle, admitted: list[Admitted]
) -> None:
    classifier = Classifier(bundle, runtime)
    whole = score_admitted(classifier, admitted)
    for chosen in ([0], [32], [5, 4, 3], list(range(32, 15, -1)), [7] * 9):
        part = score_admitted(classifier, [admitted[number] for number in chosen])
        assert part.probabilities.tobytes() == whole.probabilities[chosen].tobytes()
        assert part.activation.tobytes() == whole.activation[chosen].tobytes()


def test_a_second_load_gives_the_same_bits(bundle: Bundle, scores: Scores, admitted: list[Admitted]) -> None:
    again = score_admitted(Classifier(bundle), admitted)
    assert again.probabilities.tobytes() == scores.probabilities.tobytes()


@pytest.mark.training
def test_the_int8_network_agrees_with_the_reference(
    bundle: Bundle, scores: Scores, admitted: list[Admitted]
) -> None:
    reference = score_admitted(Classifier(bundle, "tensorflow"), admitted)
    assert np.abs(reference.p_pneumonia - scores.p_pneumonia).mean() < 0.03
    assert np.abs(reference.activation.astype(int) - scores.activation).mean() < 8


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_images_give_no_scores(runtime: str, bundle: Bundle) -> None:
    none = np.empty((0, bundle.side, bundle.side), dtype=np.uint8)
    empty = Classifier(bundle, runtime).predict_batch(none, none)
    assert empty.probabilities.shape == (0, LABELS)
    assert empty.activation.shape[0] == len(empty) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 128, 128), dtype=np.float32),
        np.zeros((128, 128), dtype=np.uint8),
        np.zeros((1, 64, 64), dtype=np.uint8),
        np.zeros((1, 128, 128, 1), dtype=np.uint8),
    ],
)
def test_inputs_of_another_shape_or_type_are_refused(classifier: Classifier, wrong: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"inputs must be uint8 \(n, 128, 128\)"):
        classifier.predict_batch(wrong)


def test_the_temperature_divides_the_logits() -> None:
    evidence = np.zeros((1, 2, 2, LABELS), dtype=np.float32)
    evidence[..., 1] = 2.0
    sure, unsure = scores_of(evidence, 0.5).p_pneumonia[0], scores_of(evidence, 4.0).p_pneumonia[0]
    assert sure == pytest.approx((np.exp(4) + 1) / (np.exp(4) + 2))
    assert unsure == pytest.approx((np.exp(0.5) + 1) / (np.exp(0.5) + 2))


def test_one_strong_place_is_bright_in_the_map() -> None:
    evidence = np.zeros((1, 4, 4, LABELS), dtype=np.float32)
    evidence[..., 0] = FULL_SCALE
    evidence[0, 1, 2] = (-FULL_SCALE, FULL_SCALE, 0.0)
    activation = scores_of(evidence, 1.0).activation[0]
    assert activation[1, 2] == 255
    # The logits of the image are the mean over 16 places, 15 of which are clear.
    logits = np.array([FULL_SCALE * 14, FULL_SCALE, 0.0]) / 16
    expected = np.exp(logits) / np.exp(logits).sum()
    assert scores_of(evidence, 1.0).probabilities[0] == pytest.approx(expected)
    assert activation.sum() == 255


def test_a_map_grades_the_evidence_and_is_dark_for_normal() -> None:
    evidence = np.zeros((1, 1, 4, LABELS), dtype=np.float32)
    evidence[0, 0, :, 0] = (0.0, 0.0, 0.0, 5.0)
    evidence[0, 0, :, 1] = (FULL_SCALE / 4, FULL_SCALE / 2, 2 * FULL_SCALE, 0.0)
    evidence[0, 0, :, 2] = -50.0
    assert scores_of(evidence, 1.0).activation[0, 0].tolist() == [64, 128, 255, 0]


def test_versions_name_the_software_that_computes(classifier: Classifier) -> None:
    assert {"nightread", "preprocessing", "numpy", "pillow", "ai-edge-litert"} <= classifier.versions.keys()
    assert all(isinstance(value, str) and value for value in classifier.versions.values())


@pytest.mark.training
def test_the_versions_of_the_reference_name_keras(bundle: Bundle) -> None:
    assert "keras" in Classifier(bundle, "tensorflow").versions


def test_notices_of_litert_stay_off_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    runtime = LiteRtRuntime(WHOLE_FILMS / "model.tflite")
    assert capfd.readouterr().err == ""
    os.write(2, b"a line after it\n")
    with _without_notices():
        os.write(2, b"INFO: a notice\nERROR: another thread's line\n")
    assert capfd.readouterr().err == "a line after it\nERROR: another thread's line\n"
    assert runtime.run(np.zeros((1, 128, 128), dtype=np.uint8)).shape[0] == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "runtime", [LiteRtRuntime, pytest.param(TensorFlowRuntime, marks=pytest.mark.training)]
)
def test_a_file_that_is_not_a_model_is_unusable(runtime: Callable[[Path], Runtime], tmp_path: Path) -> None:
    for name in ("model.tflite", "model.keras"):
        (tmp_path / name).write_bytes(b"no model at all" * 100)
        with pytest.raises(ModelUnusable, match="cannot be loaded"):
            runtime(tmp_path / name)


def test_an_unknown_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="abacus"):
        open_runtime("abacus", tmp_path)
