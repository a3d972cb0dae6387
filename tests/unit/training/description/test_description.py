"""`nightread describe`: the diagram of each network, and the sheet of samples."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.bundles import SHIPPED, WHOLE_FILMS
from tests.unit.training.tiny_bundle import add_gate
from training import cli
from training.data.radiographs import list_folders
from training.description.blocks import Block, blocks_of
from training.description.diagram import SMALLEST_TEXT, WIDTH, diagram
from training.description.graph import ENLARGE, INPUT, JOIN, Graph, read_graph
from training.description.samples import phantom_set, sheet
from training.evaluation.scoring import score_images
from training.export.litert import to_float
from worker.card.identity import FILM, NETWORK
from worker.errors import ModelUnusable
from worker.inference.bundle import load_bundle

_SVG = "{http://www.w3.org/2000/svg}"
_DASHED = "stroke-dasharray"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.describe, [str(argument) for argument in arguments])


def written(model: keras.Model, path: Path) -> Path:
    path.write_bytes(to_float(model))
    return path


@pytest.fixture(scope="module")
def u_shaped(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Return a network that joins a map with one of a later, coarser layer."""
    layers = keras.layers
    grey = keras.Input((16, 16, 1))
    fine = layers.Conv2D(4, 3, padding="same", activation="relu")(grey)
    coarse = layers.Conv2D(6, 3, padding="same", activation="relu")(layers.MaxPooling2D()(fine))
    joined = layers.Concatenate()([layers.UpSampling2D()(coarse), fine])
    model = keras.Model(grey, layers.Conv2D(1, 1)(joined))
    return read_graph(written(model, tmp_path_factory.mktemp("u") / "lungs.tflite"))


# The graph


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_the_graph_of_a_shipped_network_has_the_numbers_of_its_card(folder: Path) -> None:
    training = load_bundle(folder).card["training"]
    graphs = [read_graph(folder / name) for name in (NETWORK, FILM) if (folder / name).exists()]
    assert sum(graph.parameters for graph in graphs) == training["parameters"]
    assert sum(graph.multiply_adds for graph in graphs) == training["multiply_adds"]


def test_the_graph_of_a_network_has_its_numbers() -> None:
    graph = read_graph(WHOLE_FILMS / "model.tflite")
    assert (graph.parameters, graph.multiply_adds) == (692_451, 77_096_960)
    assert (graph.input_shape, graph.layers[-1].shape) == ((128, 128, 1), (8, 8, 3))
    assert (graph.weights, graph.size) == ("int8", (WHOLE_FILMS / "model.tflite").stat().st_size)


def test_a_network_with_a_join_keeps_its_edges(u_shaped: Graph) -> None:
    kinds = [layer.kind for layer in u_shaped.layers]
    assert kinds == ["convolution", "maximum of windows", "convolution", ENLARGE, JOIN, "convolution"]
    join = u_shaped.layers[4]
    assert sorted(join.sources) == [0, 3]
    assert join.shape == (16, 16, 10)
    assert u_shaped.layers[0].sources == (INPUT,)
    assert u_shaped.parameters == 9 * 4 + 4 + 9 * 4 * 6 + 6 + 10 + 1
    assert u_shaped.multiply_adds == 256 * 9 * 4 + 64 * 9 * 4 * 6 + 256 * 10
    assert u_shaped.weights == "float32"


def test_a_file_that_is_no_network_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "no.tflite").write_bytes(b"not a network at all")
    with pytest.raises(ModelUnusable, match=r"no\.tflite is not a LiteRT file"):
        read_graph(tmp_path / "no.tflite")


# The blocks


def blocks(name: str) -> list[Block]:
    return blocks_of(read_graph(WHOLE_FILMS / name))


def test_blocks_are_those_of_the_recipe_and_repeats_are_one() -> None:
    found = blocks("model.tflite")
    residuals = [block for block in found if block.title.startswith("Inverted residual")]
    assert sum(block.count for block in residuals) == 10
    assert [block.count for block in residuals if block.count > 1] == [2, 2]
    assert residuals[0].title == "Inverted residual, 3 × 3, stride 2"  # noqa: RUF001
    assert residuals[0].detail == "1 × 1 to 96, ReLU6; depthwise 3 × 3, ReLU6; 1 × 1 to 24"  # noqa: RUF001
    assert residuals[1].title == "Inverted residual, 3 × 3, plus its input"  # noqa: RUF001
    assert sum(block.parameters for block in found) == 692_451
    assert sum(block.multiply_adds for block in found) == 77_096_960
    assert found[-1].shape == (8, 8, 3)


def test_blocks_of_other_networks_are_named_by_layer(u_shaped: Graph) -> None:
    gate = blocks("gate.tflite")
    assert [block.title for block in gate[-2:]] == ["Mean over the places", "Dense layer"]
    titles = [block.title for block in blocks_of(u_shaped)]
    assert titles[1] == "Maximum of windows, 2 × 2, stride 2"  # noqa: RUF001
    assert titles[3:5] == ["Enlargement, each place 2 times a side", "Join"]
    assert blocks_of(u_shaped)[4].skips == (0,)


def test_equal_layers_are_one_block_unless_a_join_takes_the_first(tmp_path: Path) -> None:
    layers = keras.layers
    grey = keras.Input((8, 8, 4))
    first = layers.Conv2D(4, 3, padding="same")(grey)
    second = layers.Conv2D(4, 3, padding="same")(first)
    plain = read_graph(written(keras.Model(grey, second), tmp_path / "plain.tflite"))
    assert [(block.count, block.parameters) for block in blocks_of(plain)] == [(2, 2 * 148)]
    joined = keras.Model(grey, layers.Concatenate()([second, first]))
    apart = blocks_of(read_graph(written(joined, tmp_path / "joined.tflite")))
    assert [block.count for block in apart] == [1, 1, 1]
    assert apart[-1].skips == (0,)


# The diagram


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - drawn by the test


def texts(svg: str) -> list[ET.Element]:
    return parsed(svg).findall(f"{_SVG}text")


@pytest.mark.parametrize("name", ["model.tflite", "gate.tflite"])
def test_text_is_legible_at_page_width(name: str) -> None:
    svg = diagram(read_graph(WHOLE_FILMS / name), "nightread 0.2.0", ("one", "two"))
    root = parsed(svg)
    assert root.attrib["width"] == str(WIDTH) == "800"
    assert SMALLEST_TEXT >= 11
    assert min(int(text.attrib["font-size"]) for text in texts(svg)) == SMALLEST_TEXT
    assert max(float(text.attrib["y"]) for text in texts(svg)) < float(root.attrib["height"])


def test_the_diagram_names_facts_outputs_and_repeats() -> None:
    svg = diagram(read_graph(WHOLE_FILMS / "model.tflite"), "nightread <0>", ("normal", "bacterial", "viral"))
    shown = [text.text for text in texts(svg)]
    assert "model.tflite of nightread <0>" in shown
    assert "692,451 parameters, 77.1 M multiply-adds an image, int8 weights, 938,656 bytes" in shown
    assert "normal, bacterial, viral at each of 8 × 8 places" in shown  # noqa: RUF001
    assert shown.count("2 times") == 2
    assert _DASHED not in svg


def test_each_skip_is_a_line_of_its_own(u_shaped: Graph) -> None:
    svg = diagram(u_shaped, "u", ())
    (line,) = re.findall(rf'<path d="M(\d+) ([\d.]+)H(\d+)V([\d.]+)H\d+" [^>]*{_DASHED}', svg)
    assert float(line[1]) < float(line[3])
    boxes = [box.attrib for box in parsed(svg).findall(f"{_SVG}rect")][1:]
    # It leaves the first convolution and ends at the join, left of the boxes.
    assert float(boxes[1]["y"]) < float(line[1]) < float(boxes[2]["y"])
    assert float(boxes[5]["y"]) < float(line[3]) < float(boxes[6]["y"])
    assert int(line[2]) < int(boxes[1]["x"])
    assert any(text.text == "1 number at each of 16 × 16 places" for text in texts(svg))  # noqa: RUF001


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_the_pictures_of_the_shipped_bundle_are_those_of_its_files(folder: Path) -> None:
    bundle = load_bundle(folder)
    outputs = {"model.tflite": bundle.labels, "gate.tflite": tuple(bundle.card["gate"]["labels"])}
    networks = [name for name in bundle.card["files"] if name.endswith(".tflite")]
    assert outputs.keys() <= set(networks)
    for name in networks:
        drawn = diagram(read_graph(folder / name), f"nightread {bundle.version}", outputs.get(name, ()))
        assert (folder / name).with_suffix(".svg").read_text() == drawn


# The sheet


def test_the_sheet_shows_both_classes_and_is_repeatable(tiny: Path, chests: Path) -> None:
    images = score_images(load_bundle(tiny), list_folders(chests))
    first, second = (sheet(images, phantoms=False) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    # Two of each class and outcome stand in four rows of two.
    half = sheet(score_images(load_bundle(tiny), list_folders(chests)[:22]), phantoms=False)
    assert half.height < first.height
    assert first.size != (0, 0)
    assert first.tobytes() != sheet(images, phantoms=True).tobytes()


def test_the_right_half_of_each_pair_shows_the_map(tiny: Path, chests: Path) -> None:
    images = score_images(load_bundle(tiny), list_folders(chests))
    dark = replace(images, scores=replace(images.scores, activation=np.zeros_like(images.scores.activation)))
    with_maps, without = (np.asarray(sheet(one, phantoms=False), dtype=int) for one in (images, dark))
    columns = np.flatnonzero((with_maps != without).any(axis=(0, 2)))
    quarter = with_maps.shape[1] // 4
    assert set(columns // quarter) == {1, 3}


def test_the_map_covers_the_film(tiny: Path, chests: Path) -> None:
    images = score_images(load_bundle(tiny), list_folders(chests))
    strong = replace(
        images, scores=replace(images.scores, activation=np.full_like(images.scores.activation, 255))
    )
    dark = replace(images, scores=replace(images.scores, activation=np.zeros_like(images.scores.activation)))
    half = replace(strong, mapped=[(0.0, 0.0, 0.5, 1.0)] * len(images.mapped))
    without, whole, left = (np.asarray(sheet(one, phantoms=False)) for one in (dark, strong, half))
    of_whole, of_left = ((each != without).any(axis=(0, 2)).sum() for each in (whole, left))
    assert of_left == pytest.approx(of_whole / 2, rel=0.05)


def test_phantoms_are_drawn_in_both_classes_and_removed() -> None:
    with phantom_set() as root:
        assert {path.name: len(list(path.iterdir())) for path in root.iterdir()} == {
            "NORMAL": 12,
            "PNEUMONIA": 12,
        }
    assert not root.exists()


# The command


def test_the_command_draws_every_network_of_the_bundle(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "tiny"))
    done = run("--bundle", folder, "--out", tmp_path / "new" / "pictures")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "new" / "pictures").iterdir()) == [
        "model.svg",
        "samples.png",
    ]
    with Image.open(tmp_path / "new" / "pictures" / "samples.png") as picture:
        assert picture.width == 1200
        # Maps are in colour.
        assert np.ptp(np.asarray(picture, dtype=int), axis=2).max() > 40


def test_the_command_takes_images_of_a_site(tiny: Path, chests: Path, tmp_path: Path) -> None:
    own = run("--bundle", tiny, "--out", tmp_path / "own", "--data", chests)
    drawn = run("--bundle", tiny, "--out", tmp_path / "drawn")
    assert (own.exit_code, drawn.exit_code) == (0, 0)
    assert (tmp_path / "own" / "model.svg").read_text() == (tmp_path / "drawn" / "model.svg").read_text()
    assert (tmp_path / "own" / "samples.png").read_bytes() != (
        tmp_path / "drawn" / "samples.png"
    ).read_bytes()


def test_a_gate_is_drawn_with_its_labels_and_rejects_all(tiny: Path, chests: Path, tmp_path: Path) -> None:
    gated = Path(shutil.copytree(tiny, tmp_path / "gated"))
    add_gate(gated)
    done = run("--bundle", gated, "--out", tmp_path / "out", "--data", chests)
    assert (done.exit_code, "could be scored" in done.stderr) == (1, True)
    assert "frontal, not a chest" in (tmp_path / "out" / "gate.svg").read_text()


def test_wrong_use_is_a_sentence(tmp_path: Path, tiny: Path) -> None:
    none = run("--bundle", tmp_path / "none", "--out", tmp_path)
    assert none.exit_code == 2
    lost = run("--bundle", tiny, "--out", tmp_path, "--data", tmp_path / "lost")
    assert (lost.exit_code, "There is no folder" in lost.stderr) == (2, True)
    assert json.loads((tiny / "card.json").read_text())["name"] == "tiny"
