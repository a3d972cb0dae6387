"""A model with two networks: one sees the lungs, the other the whole film, and their logits are averaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import WHOLE_FILMS, identity, with_film, with_lungs
from tests.files import encoded
from worker.errors import ModelUnusable
from worker.inference.activation import FILM_MAP, log_odds, over_film, picture
from worker.inference.admission import Admission, Admitted, score_admitted
from worker.inference.bundle import Bundle, load_bundle
from worker.inference.classifier import Classifier
from worker.inference.runtime import open_runtime
from worker.inference.second_look import SecondLook, views
from worker.inference.softmax import softmax
from worker.phantom import draw_phantom


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_film(tmp_path_factory.mktemp("models") / "film")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load_bundle(folder)


@pytest.fixture(scope="module")
def admitted(bundle: Bundle) -> list[Admitted]:
    admission = Admission(bundle)
    return [admission.admit(encoded(draw_phantom(seed, width=400), "PNG")) for seed in range(6)]


def evidence(bundle: Bundle, images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return the evidence of the only network file that these tests have, in units of the temperature."""
    runtime = open_runtime("litert", bundle.file("litert"))
    return runtime.run(np.stack(images)).astype(np.float64) / bundle.temperature


def test_logits_of_both_networks_are_averaged(bundle: Bundle, admitted: list[Admitted]) -> None:
    once = replace(bundle, second_look=None)
    scores = score_admitted(Classifier(once), admitted)
    lungs = evidence(bundle, [image.model_input for image in admitted])
    films = evidence(bundle, [image.film for image in admitted])
    for row, of_lungs, of_film in zip(scores.probabilities, lungs, films, strict=True):
        mean = (of_lungs.mean(axis=(0, 1)) + of_film.mean(axis=(0, 1))) / 2
        assert row == pytest.approx(softmax(mean), abs=1e-12)
    alone = Classifier(replace(load_bundle(WHOLE_FILMS), second_look=None))
    only_films = alone.predict_batch(np.stack([image.film for image in admitted]))
    assert not np.allclose(scores.probabilities, only_films.probabilities, atol=1e-3)


def test_map_shows_the_whole_film(bundle: Bundle, admitted: list[Admitted]) -> None:
    scores = score_admitted(Classifier(replace(bundle, second_look=None)), admitted)
    assert scores.activation.shape == (len(admitted), FILM_MAP, FILM_MAP)
    lungs = evidence(bundle, [image.model_input for image in admitted])
    films = evidence(bundle, [image.film for image in admitted])
    for image, found, of_lungs, of_film in zip(admitted, scores.activation, lungs, films, strict=True):
        assert image.part is not None
        assert np.array_equal(found, picture(over_film(log_odds(of_lungs), image.part, log_odds(of_film))))


def test_second_look_averages_the_views_of_both_networks(bundle: Bundle, admitted: list[Admitted]) -> None:
    every = score_admitted(Classifier(replace(bundle, second_look=SecondLook(0.0, 1.0))), admitted)
    squares = [[image.model_input for image in admitted], [image.film for image in admitted]]
    looks = [np.stack(images) for images in squares]
    looks += [view for images in squares for view in views(np.stack(images)).values()]
    means = [evidence(bundle, list(images)).mean(axis=(1, 2)) for images in looks]
    assert len(means) == 6
    for row, logits in zip(every.probabilities, np.mean(means, axis=0), strict=True):
        assert row == pytest.approx(softmax(logits), abs=1e-12)


def test_scores_do_not_depend_on_the_batch_and_repeat(bundle: Bundle, admitted: list[Admitted]) -> None:
    classifier = Classifier(bundle)
    together = score_admitted(classifier, admitted)
    for place, image in enumerate(admitted):
        alone = score_admitted(Classifier(bundle) if place == 0 else classifier, [image])
        assert np.array_equal(alone.probabilities[0], together.probabilities[place])
        assert np.array_equal(alone.activation[0], together.activation[place])


@pytest.mark.training
def test_reference_agrees(folder: Path, bundle: Bundle, admitted: list[Admitted]) -> None:
    reference = score_admitted(Classifier(load_bundle(folder, "tensorflow"), "tensorflow"), admitted)
    served = score_admitted(Classifier(bundle), admitted)
    assert np.abs(reference.p_pneumonia - served.p_pneumonia).max() < 0.05


def test_model_with_a_film_network_needs_the_films(bundle: Bundle, admitted: list[Admitted]) -> None:
    classifier = Classifier(bundle)
    inputs = np.stack([image.model_input for image in admitted])
    for films in (None, inputs[:1]):
        with pytest.raises(ValueError, match="needs the film of each input"):
            classifier.predict_batch(inputs, films)
    with pytest.raises(ValueError, match="films must be uint8"):
        classifier.predict_batch(inputs, inputs[:, :64])


def test_film_network_is_part_of_the_identity(folder: Path, tmp_path: Path) -> None:
    assert identity(folder) != identity(with_lungs(tmp_path / "lungs"))


@pytest.mark.parametrize("runtime", ["litert", "tensorflow"])
@pytest.mark.parametrize("name", ["film.tflite", "film.keras", "lungs.tflite"])
def test_bundle_with_half_a_film_network_is_refused(tmp_path: Path, name: str, runtime: str) -> None:
    folder = with_film(tmp_path / "half")
    card = json.loads((folder / "card.json").read_text())
    del card["files"][name]
    (folder / "card.json").write_text(json.dumps(card))
    if (name, runtime) == ("film.keras", "litert"):
        assert load_bundle(folder).film_file("litert") == folder / "film.tflite"
        return
    with pytest.raises(ModelUnusable, match=f"does not name {name}"):
        load_bundle(folder, runtime)
