"""training.data.spectrum: radial spectra, and restyling with them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from training.data.spectrum import radial_spectra, restyled
from worker.phantom import draw_phantom

SHARP = np.asarray(draw_phantom(3, width=96, height=96))
BLURRED = np.asarray(Image.fromarray(SHARP).filter(ImageFilter.GaussianBlur(2)))


def test_blur_lowers_only_high_frequencies() -> None:
    sharp, blurred = radial_spectra(np.stack([SHARP, BLURRED]))
    assert (blurred[20:40] < sharp[20:40] - 0.5).all()
    assert np.abs(blurred[:3] - sharp[:3]).max() < 0.2


def test_zero_gain_changes_nothing() -> None:
    assert np.array_equal(restyled(SHARP, np.zeros_like(radial_spectra(SHARP[np.newaxis])[0])), SHARP)


def test_restyled_image_keeps_content_and_gets_sharpness() -> None:
    sharp, blurred = radial_spectra(np.stack([SHARP, BLURRED]))
    softened = restyled(SHARP, blurred - sharp)
    found = radial_spectra(softened[np.newaxis])[0]
    assert np.abs(found - blurred)[3:30].mean() < 0.25 * np.abs(sharp - blurred)[3:30].mean()
    assert np.corrcoef(softened.ravel(), SHARP.ravel())[0, 1] > 0.95


def test_restyling_keeps_the_mean_grey_value() -> None:
    gain = np.full_like(radial_spectra(SHARP[np.newaxis])[0], -2.0)
    assert abs(restyled(SHARP, gain).mean() - SHARP.mean()) < 1
