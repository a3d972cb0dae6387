"""docs/edge.md: the program on that page gives the server's numbers, and `screen` needs few packages."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from packaging.requirements import Requirement
from PIL import Image, ImageOps

from tests.bundles import WHOLE_FILMS, with_distance, with_film, with_lungs, with_outputs_swapped
from tests.conftest import TEST_DATA
from training.export.litert import to_int8
from worker.card.identity import DISTANCE, FILM, LUNGS
from worker.config import ROOT, Settings
from worker.errors import REJECTIONS
from worker.imagefile.limits import limits_of
from worker.inference.bundle import load_bundle
from worker.inference.gate import downsample, open_gate
from worker.inference.preprocess import FILM_ALONE, LUNGS_ALONE, to_model_input
from worker.inference.runtime import LiteRtRuntime
from worker.inference.softmax import softmax
from worker.phantom import draw_phantom, write_phantom
from worker.screening import open_scorer

PAGE = (ROOT / "docs" / "edge.md").read_text(encoding="utf-8")
SHIPPED = WHOLE_FILMS
NUMBERS = ("p_normal", "p_bacterial", "p_viral", "p_pneumonia", "confidence")
# Prepended to a program, this hides the named modules from it.
GUARD = """
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Guard())
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the program of the page to a file."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path_factory.mktemp("edge") / "score.py"
    path.write_text(code, encoding="utf-8")
    for copied in ("activation.py", "film.py", "lung_box.py", "margins.py"):
        shutil.copy(ROOT / "worker" / "inference" / copied, path.parent)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write grey and colour, JPEG and PNG, large and turned images; add real ones if they exist here."""
    folder = tmp_path_factory.mktemp("pictures")
    large = write_phantom(folder / "large.jpg", 3, width=1300)
    plain = write_phantom(folder / "plain.png", 4, width=700)
    tinted = Image.merge("RGB", [draw_phantom(seed, width=600) for seed in (5, 5, 6)])
    tinted.save(folder / "colour.jpg", quality=92)
    tinted.save(folder / "colour.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    draw_phantom(7, width=900).rotate(90, expand=True).save(folder / "turned.jpg", exif=exif)
    drawn = [large, plain, *(folder / name for name in ("colour.jpg", "colour.png", "turned.jpg"))]
    return drawn + sorted((TEST_DATA / "pediatric_originals").glob("*/*.jpeg"))[::40]


def run(program: Path, bundle: Path, picture: Path) -> dict[str, Any]:
    command = [sys.executable, str(program), str(bundle), str(picture)]
    # Without the path to this project: the program must need nothing of it but the four copies.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=program.parent, env=alone)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def screened(*pictures: Path, bundle: Path = SHIPPED) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "worker.cli", "screen", "--json", *map(str, pictures)]
    chosen = {**os.environ, "NIGHTREAD_MODEL": str(bundle)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=chosen)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module", params=[FILM_ALONE, LUNGS_ALONE, FILM, "distance", "swapped outputs", "all"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each preprocessing, one with a film network, two that say the distance from their training data, and all of it."""
    folder = tmp_path_factory.mktemp("models")
    if request.param == FILM_ALONE:
        return SHIPPED
    if request.param == LUNGS_ALONE:
        return with_lungs(folder / "bundle")
    if request.param == FILM:
        return with_film(folder / "bundle")
    # Some of the pictures are far, and some are near.
    if request.param == "distance":
        return with_distance(folder / "bundle", limit=143.0)
    if request.param == "all":
        # Its two networks differ.
        return with_distance(folder / "bundle", limit=153.0, base=with_film(folder / "film"))
    lungs = with_lungs(folder / "lungs")
    return with_outputs_swapped(with_distance(folder / "bundle", limit=153.0, base=lungs))


def test_documented_program_equals_screen(program: Path, bundle: Path, pictures: list[Path]) -> None:
    for picture, expected in zip(pictures, screened(*pictures, bundle=bundle), strict=True):
        found = run(program, bundle, picture)
        assert found["outcome"] == expected["outcome"], picture
        if found["outcome"] == "scored":
            assert (found["lungs"] is not None) == (bundle / LUNGS).exists()
            assert (found["distance"] is not None) == (bundle / DISTANCE).exists()
            for name in ("crop", "lungs", "distance"):
                assert found[name] == expected[name]
            assert {name: round(found[name], 6) for name in NUMBERS} == {n: expected[n] for n in NUMBERS}
            assert (found["verdict"], found["model"]) == (expected["verdict"], expected["model"])


def test_documented_program_equals_the_server_bit_for_bit(
    program: Path, bundle: Path, pictures: list[Path]
) -> None:
    settings = Settings(model=bundle)
    scorer = open_scorer(settings)
    scored = 0
    for picture in pictures:
        found = run(program, bundle, picture)
        if found["outcome"] == "scored":
            prepared = scorer.prepare(picture.read_bytes(), limits_of(settings))
            (expected,) = scorer.score([prepared])
            assert {name: found[name] for name in NUMBERS} == {n: getattr(expected, n) for n in NUMBERS}
            assert found["activation"] == expected.activation.tolist()
            assert found["distance"] == expected.distance
            scored += 1
    assert scored


def test_documented_program_never_calls_a_far_image_clear(program: Path, tmp_path: Path) -> None:
    picture = write_phantom(tmp_path / "phantom.jpg", 1, width=600)
    for limit, verdict in ((100.0, "uncertain"), (200.0, "clear")):
        found = run(program, with_distance(tmp_path / verdict, limit=limit), picture)
        assert (found["distance"] > 1, found["verdict"]) == (limit == 100.0, verdict)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory, pictures: list[Path]) -> Path:
    """Copy the shipped bundle with a gate that rejects half of the images, whatever they show."""
    folder = tmp_path_factory.mktemp("gated") / "bundle"
    shutil.copytree(SHIPPED, folder)
    side, labels = 48, ["frontal", "inverted", "lateral", "not_a_chest"]
    inputs = np.stack([to_model_input(each.read_bytes(), load_bundle(folder).side) for each in pictures])
    (folder / "gate.tflite").write_bytes(to_int8(gate_network(side, len(labels)), downsample(inputs, side)))
    chances = softmax(LiteRtRuntime(folder / "gate.tflite").run(downsample(inputs, side)))
    card = json.loads((folder / "card.json").read_text())
    card["files"]["gate.tflite"] = {
        "sha256": hashlib.sha256((folder / "gate.tflite").read_bytes()).hexdigest()
    }
    card["gate"] = {"labels": labels, "side": side, "threshold": float(np.median(1 - chances[:, 0]))}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def gate_network(side: int, labels: int) -> keras.Model:
    keras.utils.set_random_seed(11)
    grey = keras.Input((side, side, 1))
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(keras.layers.Rescaling(1 / 255)(grey))
    wide = keras.initializers.RandomNormal(stddev=0.2)
    logits = keras.layers.Dense(labels, kernel_initializer=wide, name="logits")(keras.layers.Flatten()(x))
    return keras.Model(grey, logits)


def test_documented_program_has_the_same_gate(program: Path, gated: Path, pictures: list[Path]) -> None:
    bundle = load_bundle(gated)
    gate = open_gate(gated, bundle.card)
    codes = [gate.codes(to_model_input(each.read_bytes(), bundle.side)[np.newaxis])[0] for each in pictures]
    found = [run(program, gated, each) for each in pictures]
    assert [each.get("reason") for each in found] == codes
    assert None in codes
    assert len(set(codes)) > 1


@pytest.mark.parametrize(
    ("reason", "levels", "rows"),
    [("blank", (90, 100), slice(30)), ("saturated", (0, 255), slice(147, 153))],
)
def test_documented_program_rejects_blank_images(
    program: Path, tmp_path: Path, reason: str, levels: tuple[int, int], rows: slice
) -> None:
    picture = tmp_path / "picture.png"
    values = np.full((300, 300), levels[0], dtype=np.uint8)
    values[rows] = levels[1]
    Image.fromarray(values).save(picture)
    assert run(program, SHIPPED, picture) == {"outcome": "rejected", "reason": reason}
    assert screened(picture)[0]["outcome"] == "rejected"


@pytest.mark.parametrize(
    ("border", "level"),
    [
        ((90, 90, 90, 90), 255),
        ((0, 90, 0, 0), 190),
        ((300, 300, 300, 300), 0),
        ((400, 0, 0, 0), 60),
        ((20, 20, 20, 20), 0),
        ((0, 0, 0, 0), 0),
    ],
)
@pytest.mark.parametrize("file", ["picture.png", "picture.jpg"])
def test_documented_program_cuts_out_the_film_as_the_server_does(
    program: Path, tmp_path: Path, border: tuple[int, int, int, int], level: int, file: str
) -> None:
    ImageOps.expand(draw_phantom(8, width=600), border, level).save(tmp_path / file)
    found, (expected,) = run(program, SHIPPED, tmp_path / file), screened(tmp_path / file)
    assert found["outcome"] == expected["outcome"] == "scored"
    assert (found["crop"], found["verdict"]) == (expected["crop"], expected["verdict"])
    assert (found["crop"] is not None) == (sum(border) > 80)
    assert {name: round(found[name], 6) for name in NUMBERS} == {n: expected[n] for n in NUMBERS}


@pytest.mark.parametrize("file", ["picture.png", "picture.jpg"])
def test_documented_program_finds_the_lungs_of_a_film_on_a_page(
    program: Path, tmp_path: Path, file: str
) -> None:
    bundle = with_lungs(tmp_path / "bundle")
    ImageOps.expand(draw_phantom(8, width=600), (90, 120, 40, 60), 255).save(tmp_path / file)
    found, (expected,) = run(program, bundle, tmp_path / file), screened(tmp_path / file, bundle=bundle)
    assert found["crop"] is not None
    for name in ("crop", "lungs", "verdict", "model"):
        assert found[name] == expected[name]
    assert {name: round(found[name], 6) for name in NUMBERS} == {n: expected[n] for n in NUMBERS}


def test_documented_program_rejects_a_picture_without_lungs(program: Path, tmp_path: Path) -> None:
    # No film has as much lung as this rule asks for.
    bundle = with_lungs(tmp_path / "bundle", least_area=0.9)
    picture = write_phantom(tmp_path / "phantom.jpg", 1, width=600)
    assert run(program, bundle, picture) == {"outcome": "rejected", "reason": "no_lungs"}
    assert screened(picture, bundle=bundle)[0]["reason"] == REJECTIONS["no_lungs"]


def test_documented_program_rejects_two_films_as_the_server_does(program: Path, tmp_path: Path) -> None:
    page = Image.new("L", (1400, 900), 255)
    for x in (50, 750):
        page.paste(draw_phantom(8, width=600), (x, 100))
    page.save(tmp_path / "page.png")
    found, (expected,) = (
        run(program, SHIPPED, tmp_path / "page.png"),
        screened(tmp_path / "page.png"),
    )
    assert found == {"outcome": "rejected", "reason": "on_a_page"}
    assert expected["reason"] == REJECTIONS["on_a_page"]


def reduced(grey: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Apply the triangle filter as the page describes it."""
    rows, columns = (_weights(length, side) for length in grey.shape)
    across = np.floor(grey @ columns.T + 0.5)
    return np.floor(rows @ across + 0.5).astype(np.uint8)


def _weights(source: int, target: int) -> NDArray[np.float64]:
    r = source / target
    s, t = np.arange(source), np.arange(target)[:, np.newaxis]
    weights = np.maximum(0, 1 - np.abs(s + 0.5 - (t + 0.5) * r) / max(r, 1))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("edges", [(1300, 1079), (333, 500), (100, 90)])
def test_documented_filter_is_the_one_in_use(edges: tuple[int, int]) -> None:
    image = draw_phantom(8, width=edges[0], height=edges[1])
    ours = np.asarray(image.resize((128, 128), Image.Resampling.BILINEAR)).astype(int)
    off = np.abs(ours - reduced(np.asarray(image), 128))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.001


def test_documented_grey_conversion_is_the_one_in_use(tmp_path: Path) -> None:
    colours = np.random.default_rng(3).integers(0, 256, (128, 128, 3))
    red, green, blue = (colours[..., place] for place in range(3))
    grey = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    Image.fromarray(colours.astype(np.uint8)).save(tmp_path / "colour.png")
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "grey.png")
    a, b = (to_model_input((tmp_path / name).read_bytes(), 128) for name in ("colour.png", "grey.png"))
    assert np.array_equal(a, b)


def base_install() -> set[str]:
    """Return the distributions that `pip install nightread` installs without extras."""
    found: set[tuple[str, str]] = set()
    open_ends = [("nightread", "")]
    while open_ends:
        name, extra = open_ends.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for needed in map(Requirement, distribution(name).requires or []):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                open_ends += [(plain(needed.name), each) for each in ("", *needed.extras)]
    return {name for name, _ in found}


def plain(name: str) -> str:
    """Normalise the name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_screen_needs_only_the_base_install(tmp_path: Path) -> None:
    base = base_install()
    refused = {
        module
        for module, owners in packages_distributions().items()
        if not {plain(owner) for owner in owners} & base
    }
    assert {"tensorflow", "keras", "sklearn", "matplotlib", "onnx", "scipy"} <= refused
    picture = write_phantom(tmp_path / "phantom.jpg", 1, width=600)
    code = GUARD.replace("REFUSED", repr(refused)) + "from worker.cli import main\nmain()\n"
    command = [sys.executable, "-c", code, "screen", "--json", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert "Traceback" not in done.stderr, done.stderr
    (document,) = json.loads(done.stdout)
    assert document["model"] == open_scorer(Settings()).bundle.sha256
