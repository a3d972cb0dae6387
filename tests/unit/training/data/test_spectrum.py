"""training.data.spectrum: how sharp an image is, and making it as sharp as another."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from training.data.spectrum import radial_spectra, restyled
from worker.phantom import draw_phantom

SHARP = np.asarray(draw_phantom(3, width=96, height=96))
BLURRED = np.asarray(Image.fromarray(SHARP).filter(ImageFilter.GaussianBlur(2)))


def test_a_blurred_image_has_less_of_what_is_fine_and_as_much_of_what_is_coarse() -> None:
    sharp, blurred = radial_spectra(np.stack([SHARP, BLURRED]))
    assert (blurred[20:40] < sharp[20:40] - 0.5).all()
    assert np.abs(blurred[:3] - sharp[:3]).max() < 0.2


def test_no_gain_leaves_the_image() -> None:
    assert np.array_equal(restyled(SHARP, np.zeros_like(radial_spectra(SHARP[np.newaxis])[0])), SHARP)


def test_a_restyled_image_is_as_sharp_as_the_other_and_shows_the_same() -> None:
    sharp, blurred = radial_spectra(np.stack([SHARP, BLURRED]))
    softened = restyled(SHARP, blurred - sharp)
    found = radial_spectra(softened[np.newaxis])[0]
    assert np.abs(found - blurred)[3:30].mean() < 0.25 * np.abs(sharp - blurred)[3:30].mean()
    assert np.corrcoef(softened.ravel(), SHARP.ravel())[0, 1] > 0.95


def test_the_mean_grey_value_stays() -> None:
    gain = np.full_like(radial_spectra(SHARP[np.newaxis])[0], -2.0)
    assert abs(restyled(SHARP, gain).mean() - SHARP.mean()) < 1
