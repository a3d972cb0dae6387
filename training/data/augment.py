"""Random variants of radiographs, as other machines would have produced them.

Position, detail, tone and shading are changed in the decoded grey values, before the server's own
`normalise`: an unchanged image is then exactly what the server sees. Blur, noise, JPEG and boxes come
after it. Before it, `normalise` would amplify them more where contrast was low, as in hazy lungs, and a
network could learn the label from the noise. One image takes about a millisecond.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.data.spectrum import restyled
from training.recipe import AugmentSection, Range
from worker.inference.exposure import normalise

Grey = NDArray[np.uint8]
# Left, top, right and bottom of a part of an image, as shares of its edges.
Edges = tuple[float, float, float, float]
WHOLE: Edges = (0.0, 0.0, 1.0, 1.0)


def augmented(
    grey: Grey,
    side: int,
    recipe: AugmentSection,
    rng: np.random.Generator,
    gain: NDArray[np.float32] | None = None,
    part: Edges = WHOLE,
) -> Grey:
    """Draw one variant of an image.

    Args:
        grey: from `checked_grey`, shape (recipe.side, recipe.side).
        side: edge of the model's input, in pixels.
        recipe: the ranges to draw from.
        rng: random stream; the same state gives the same variant.
        gain: difference of another image's radial spectrum from this one's, shape (k,). A random part of
            it is applied. None: the spectrum stays.
        part: what the variant shows before it is moved. The geometry of the recipe is in units of this part.

    Returns:
        A model input, shape (side, side).
    """
    seen = normalise(acquired(grey, side, recipe, rng, part))
    if gain is not None:
        seen = normalise(restyled(seen, np.float32(rng.random()) * gain))
    return _erased(degraded(seen, recipe, rng), recipe, rng)


def acquired(
    grey: Grey, side: int, recipe: AugmentSection, rng: np.random.Generator, part: Edges = WHOLE
) -> Grey:
    """Return the radiograph as another machine would have acquired it, without normalisation.

    Arguments as for `augmented`. Returns shape (side, side).
    """
    image = _moved(Image.fromarray(grey), side, recipe, rng, part)
    image = _sharpened(image, recipe, rng)
    image = image.point(_exposure(image, recipe, rng).tolist())
    return _shaded(np.asarray(image), recipe, rng)


def moved(grey: Grey, side: int, recipe: AugmentSection, rng: np.random.Generator) -> Grey:
    """Return the image moved as `acquired` moves it with the same state of the random stream: for a mask.

    Arguments as for `augmented`. Returns shape (side, side).
    """
    return np.asarray(_moved(Image.fromarray(grey), side, recipe, rng, WHOLE))


def degraded(grey: Grey, recipe: AugmentSection, rng: np.random.Generator) -> Grey:
    """Blur an image, add noise and compress it as JPEG. Returns an array of the same shape."""
    values = _noisy(np.asarray(_blurred(Image.fromarray(grey), recipe, rng)), recipe, rng)
    if rng.random() < recipe.jpeg_share:
        values = _recompressed(values, round(_draw(recipe.jpeg, rng)))
    return values


def augmented_batch(
    grey: Grey,
    indices: NDArray[np.int64],
    side: int,
    recipe: AugmentSection,
    seed: tuple[int, ...],
    spectra: NDArray[np.float32] | None = None,
    parts: NDArray[np.float64] | None = None,
) -> Grey:
    """Draw one variant of each of several images.

    Args:
        grey: from `checked_grey`, shape (n, recipe.side, recipe.side).
        indices: of the images to draw, shape (m,).
        side: edge of the model's input, in pixels.
        recipe: the ranges to draw from.
        seed: of the draws. Each image has its own stream, so the order of images does not matter.
        spectra: radial spectra of the model inputs, shape (n, k). The share `recipe.spectrum` of variants
            moves towards the spectrum of another image. None: no variant does.
        parts: left, top, right and bottom of what the variants show, as shares of each image, shape (n, 4). None: all
            of it.

    Returns:
        Model inputs, shape (m, side, side).
    """
    variants = []
    for i in indices:
        rng = np.random.default_rng((*seed, int(i)))
        gain = None
        if spectra is not None and rng.random() < recipe.spectrum:
            gain = spectra[rng.integers(len(spectra))] - spectra[i]
        left, top, right, bottom = WHOLE if parts is None else parts[i].tolist()
        variants.append(augmented(grey[i], side, recipe, rng, gain, (left, top, right, bottom)))
    return np.stack(variants)


def _draw(limits: Range, rng: np.random.Generator) -> float:
    return float(rng.uniform(*limits))


def _moved(
    image: Image.Image, side: int, recipe: AugmentSection, rng: np.random.Generator, part: Edges
) -> Image.Image:
    """Rotate, shear, crop, stretch, shift and flip a part of an image, in one resampling."""
    left, top, right, bottom = (edge * image.width for edge in part)
    angle = math.radians(_draw(recipe.rotation, rng))
    zoom, aspect, shear = _draw(recipe.zoom, rng), _draw(recipe.aspect, rng), _draw(recipe.shear, rng)
    # PIL maps output to input coordinates: a zoom below 1 reads a smaller part of the input.
    wide, high = zoom * math.sqrt(aspect), zoom / math.sqrt(aspect)
    if rng.random() < recipe.flip:
        wide = -wide
    cos, sin = math.cos(angle), math.sin(angle)
    across, down = (right - left) / side, (bottom - top) / side
    a, b = across * wide * cos, across * high * (-sin + shear)
    d, e = down * wide * sin, down * high * cos
    centre_x = (left + right) / 2 + (right - left) * _draw(recipe.shift, rng)
    centre_y = (top + bottom) / 2 + (bottom - top) * _draw(recipe.shift, rng)
    half = side / 2
    matrix = (a, b, centre_x - a * half - b * half, d, e, centre_y - d * half - e * half)
    return image.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _exposure(image: Image.Image, recipe: AugmentSection, rng: np.random.Generator) -> Grey:
    """Return a table of 256 grey values: gamma, contrast about the image's mean, brightness, clipped."""
    histogram = np.array(image.histogram(), dtype=np.float64)
    gamma = math.exp(_draw((math.log(recipe.gamma[0]), math.log(recipe.gamma[1])), rng))
    contrast, brightness = _draw(recipe.contrast, rng), _draw(recipe.brightness, rng)
    levels = np.linspace(0.0, 1.0, 256) ** gamma
    mean = float(levels @ histogram / histogram.sum())
    return np.rint(255 * np.clip((levels - mean) * contrast + mean + brightness, 0, 1)).astype(np.uint8)


def _sharpened(image: Image.Image, recipe: AugmentSection, rng: np.random.Generator) -> Image.Image:
    """Enhance or flatten detail, as the processing of each manufacturer does."""
    amount, radius = _draw(recipe.detail, rng), _draw(recipe.detail_radius, rng)
    coarse = image.filter(ImageFilter.BoxBlur(radius))
    # A negative amount moves towards the coarse image, a positive one away from it; values are clipped.
    return Image.blend(coarse, image, 1 + amount)


def _blurred(image: Image.Image, recipe: AugmentSection, rng: np.random.Generator) -> Image.Image:
    radius = _draw(recipe.blur, rng)
    # Half of the images keep their sharpness.
    if rng.random() < 0.5 or not radius:  # noqa: PLR2004
        return image
    return image.filter(ImageFilter.GaussianBlur(radius))


def _shaded(grey: Grey, recipe: AugmentSection, rng: np.random.Generator) -> Grey:
    """Add a gradient of brightness across the plate, like the heel effect."""
    strength, direction = _draw(recipe.shading, rng) * 255, rng.uniform(0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, len(grey), dtype=np.float32) * np.float32(strength)
    slope = ramp * np.float32(math.cos(direction)) + ramp[:, np.newaxis] * np.float32(math.sin(direction))
    return _as_grey(grey.astype(np.float32) + slope)


def _noisy(grey: Grey, recipe: AugmentSection, rng: np.random.Generator) -> Grey:
    """Add detector noise to half of the images."""
    sigma = _draw(recipe.noise, rng)
    if rng.random() < 0.5 or not sigma:  # noqa: PLR2004
        return grey
    return _as_grey(
        grey.astype(np.float32) + rng.standard_normal(grey.shape, dtype=np.float32) * np.float32(sigma)
    )


def _as_grey(values: NDArray[np.float32]) -> Grey:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _recompressed(grey: Grey, quality: int) -> Grey:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _erased(grey: Grey, recipe: AugmentSection, rng: np.random.Generator) -> Grey:
    """Cover random boxes, so that no burned-in letter and no single place decides the score."""
    covered = grey.copy()
    side = len(grey)
    for _ in range(round(_draw(recipe.erased, rng))):
        high, wide = (max(1, round(side * _draw(recipe.erased_size, rng))) for _ in range(2))
        top, left = rng.integers(0, side - high + 1), rng.integers(0, side - wide + 1)
        covered[top : top + high, left : left + wide] = rng.integers(0, 256)
    return covered
