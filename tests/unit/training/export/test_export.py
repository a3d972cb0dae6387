"""training.export.litert and training.export.onnx: exported files match their reference and describe themselves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner, Result
from keras import layers
from numpy.typing import NDArray

from tests.bundles import with_lungs
from training import cli
from training.data.cohort import read_cohort
from training.errors import WrongInput
from training.export import release
from training.export.litert import parity, to_float, to_int8
from training.export.onnx import facts_of, to_onnx
from training.fit.branches import whole_films
from training.lungs.finding import part_of, with_network
from training.recipe import Recipe, load_recipe
from worker import DISCLAIMER
from worker.inference.bundle import LABELS, load_bundle
from worker.inference.classifier import Classifier, scores_of
from worker.inference.lungs import WHOLE_SIDE
from worker.inference.preprocess import FILM_ALONE
from worker.inference.runtime import LiteRtRuntime
from worker.inference.softmax import softmax
from worker.phantom import write_phantom

Inputs = NDArray[np.uint8]
TEMPERATURE = 1.7
SIDE = 32
POINT = {"threshold": 0.4, "band_low": 0.2, "band_high": 0.6, "sensitivity": 0.9, "specificity": 0.8}


def network(side: int = SIDE, padding: str = "valid") -> keras.Model:
    """Build a network with every layer that a reference may have, and weights that use every term.

    Args:
        side: of the input; an odd side, or one that halves to an odd side, has other padding.
        padding: of the pooling.
    """
    keras.utils.set_random_seed(side)
    grey = keras.Input((side, side, 1), name="grey")
    x = layers.Rescaling(1 / 255, offset=-0.25)(grey)
    x = layers.ReLU()(conv(x, 8, "stem", stride=2, bias=False, norm=True))
    inner = layers.ReLU()(conv(x, 16, "a_1", stride=2))
    inner = conv(inner, 16, "a_2", kernel=5)
    short = conv(layers.AveragePooling2D(2, padding=padding)(x), 16, "a_shortcut", kernel=1)
    x = layers.ReLU()(layers.Add()([short, inner]))
    wide = keras.initializers.RandomNormal(stddev=8)
    alone = layers.DepthwiseConv2D(
        3, 2, padding="same", name="alone", depthwise_initializer=wide, bias_initializer="normal"
    )
    x = layers.ReLU(max_value=6, name="limited")(alone(x))
    x = layers.SpatialDropout2D(0.5)(x)
    return keras.Model(grey, conv(x, 3, "evidence", kernel=1), name="small")


def conv(x: Any, width: int, name: str, *, kernel: int = 3, stride: int = 1, **more: bool) -> Any:
    bias = more.get("bias", True)
    random = keras.initializers.RandomNormal(stddev=0.2)
    x = layers.Conv2D(
        width, kernel, stride, padding="same", use_bias=bias, name=name,
        kernel_initializer="he_normal", bias_initializer=random,
    )(x)  # fmt: skip
    uneven = keras.initializers.RandomUniform(0.5, 1.5)
    norm = layers.BatchNormalization(
        epsilon=0.01, beta_initializer=random, gamma_initializer=uneven,
        moving_mean_initializer=random, moving_variance_initializer=uneven,
    )  # fmt: skip
    return norm(x) if more.get("norm") else x


def images(count: int, side: int = SIDE) -> Inputs:
    """Draw blobs on bright and on dark images, so that neighbouring pixels are similar."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (count, 6, 6)) * rng.uniform(0.05, 1, (count, 1, 1))
    resized = keras.ops.image.resize(coarse[..., np.newaxis], (side, side), interpolation="bilinear")
    return np.asarray(keras.ops.convert_to_numpy(resized)[..., 0], dtype=np.uint8)


def evidence_of(model: keras.Model, inputs: Inputs) -> NDArray[np.float32]:
    evidence = model(inputs[..., np.newaxis].astype(np.float32), training=False)
    return np.asarray(keras.ops.convert_to_numpy(evidence))


def litert(content: bytes) -> Any:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def by_litert(content: bytes, inputs: Inputs) -> NDArray[np.float32]:
    """Run a file by its signature, like an app that knows no tensor indices."""
    run = litert(content).get_signature_runner()
    return np.stack([run(grey=image[np.newaxis, ..., np.newaxis])["evidence"][0] for image in inputs])


def by_onnx(content: bytes, inputs: Inputs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    evidence, probabilities = session.run(["evidence", "probabilities"], {"grey": inputs})
    return evidence, probabilities


# Sides 32 and 36 pad only after, at stride 2; 45 pads on both sides; 38 halves to an odd side.
@pytest.mark.parametrize(("side", "padding"), [(32, "valid"), (36, "same"), (38, "same"), (45, "same")])
def test_onnx_file_computes_the_references_evidence(side: int, padding: str) -> None:
    model, inputs = network(side, padding), images(3, side)
    evidence, _ = by_onnx(to_onnx(model, TEMPERATURE, {}), inputs)
    assert np.abs(evidence - evidence_of(model, inputs)).max() < 1e-4


def test_float_file_computes_the_references_evidence() -> None:
    model, inputs = network(45, "same"), images(3, 45)
    assert np.abs(by_litert(to_float(model), inputs) - evidence_of(model, inputs)).max() < 1e-4


def test_onnx_file_takes_batches_and_returns_probabilities() -> None:
    model, inputs = network(), images(9)
    content = to_onnx(model, TEMPERATURE, {})
    evidence, probabilities = by_onnx(content, inputs)
    expected = scores_of(evidence_of(model, inputs), TEMPERATURE).probabilities
    assert np.abs(probabilities - expected).max() < 1e-5
    assert np.abs(by_onnx(content, inputs[4:5])[0] - evidence[4:5]).max() < 1e-4
    assert by_onnx(content, inputs[:0])[1].shape == (0, len(LABELS))


def changed_layer(layer: layers.Layer) -> keras.Model:
    grey = keras.Input((SIDE, SIDE, 1))
    return keras.Model(grey, layers.Conv2D(3, 1, name="evidence")(layer(grey)))


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (layers.MaxPooling2D(2, name="odd"), r"layer 'odd' \(MaxPooling2D\) cannot be exported to ONNX"),
        (layers.Conv2D(4, 3, activation="relu", name="odd"), "layer 'odd' has an activation of its own"),
        (layers.ReLU(threshold=1, name="odd"), "layer 'odd' has a slope or a threshold"),
        (layers.ReLU(negative_slope=0.1, name="odd"), "layer 'odd' has a slope or a threshold"),
        (
            layers.DepthwiseConv2D(3, depth_multiplier=2, name="odd"),
            "layer 'odd' has more than one filter a channel",
        ),
        (
            layers.AveragePooling2D(1, data_format="channels_first", name="odd"),
            "layer 'odd' has channels that are not last",
        ),
    ],
)
def test_unsupported_layer_is_an_error(layer: layers.Layer, sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        to_onnx(changed_layer(layer), 1.0, {})


@pytest.fixture(scope="module")
def int8() -> bytes:
    """Quantise the network with images that contain neither pure black nor pure white."""
    return to_int8(network(), np.clip(images(60), 20, 230))


def test_int8_file_takes_grey_values_and_matches_its_reference(int8: bytes, tmp_path: Path) -> None:
    model, inputs = network(), images(60)
    path = tmp_path / "model.tflite"
    path.write_bytes(int8)
    served, exact = LiteRtRuntime(path).run(inputs), evidence_of(model, inputs)
    assert 0 < np.abs(served - exact).mean() < 0.01 * np.ptp(exact)
    assert np.abs(served - exact).max() < 0.05 * np.ptp(exact)


def test_int8_file_uses_integers_and_channel_scales(int8: bytes) -> None:
    interpreter = litert(int8)
    tensors = {
        get_tensor_detail["index"]: get_tensor_detail
        for get_tensor_detail in interpreter.get_tensor_details()
    }
    operations = [
        get_ops_detail
        for get_ops_detail in interpreter._get_ops_details()
        if get_ops_detail["op_name"] != "DELEGATE"
    ]
    between = {tensors[index]["dtype"] for operation in operations[:-1] for index in operation["outputs"]}
    assert between == {np.int8}
    kernels = [
        tensor for tensor in tensors.values() if len(tensor["shape"]) == 4 and tensor["shape"][0] == 16
    ]
    assert kernels
    assert all(len(kernel["quantization_parameters"]["scales"]) == 16 for kernel in kernels)


def test_pooling_does_not_split_the_int8_graph(int8: bytes) -> None:
    """The fast kernels run the whole graph as one piece."""
    operations = [get_ops_detail["op_name"] for get_ops_detail in litert(int8)._get_ops_details()]
    assert "AVERAGE_POOL_2D" not in operations
    assert operations.count("DELEGATE") == 1


def test_mean_with_padding_stays_a_mean() -> None:
    model, inputs = network(38, "same"), images(40, 38)
    content = to_int8(model, inputs)
    assert "AVERAGE_POOL_2D" in [
        get_ops_detail["op_name"] for get_ops_detail in litert(content)._get_ops_details()
    ]
    exact = evidence_of(model, inputs)
    assert np.abs(by_litert(content, inputs) - exact).mean() < 0.02 * np.ptp(exact)


def test_exports_are_reproducible(tmp_path: Path) -> None:
    network().save(tmp_path / "model.keras")
    made = []
    for _ in range(2):
        model = keras.saving.load_model(tmp_path / "model.keras", compile=False)
        made.append((to_int8(model, images(20)), to_float(model), to_onnx(model, 1.0, {"b": "1", "a": "2"})))
    assert made[0] == made[1]


def test_model_of_another_backend_is_converted_by_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A separate process converts it to the same bytes."""
    model, inputs = network(), images(20)
    here = to_int8(model, inputs), to_float(model)
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    assert (to_int8(model, inputs), to_float(model)) == here


def test_missing_tensorflow_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError('No module named tensorflow')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(WrongInput, match=r"which needs TensorFlow, failed: .*No module named tensorflow"):
        to_float(network())


def test_parity_measures_differences() -> None:
    model, inputs = network(), images(8)
    exact = evidence_of(model, inputs)
    same = parity(exact, exact)
    assert same.images == 8
    assert same.largest_difference == 0.0
    assert same.same_side == 1.0
    moved = exact.copy()
    moved[0, ..., 0] -= 100.0
    found, before = parity(exact, moved), scores_of(exact, 1.0).p_pneumonia
    assert found.largest_difference == pytest.approx(1 - before[0], abs=1e-6)
    assert found.mean_difference == pytest.approx((1 - before[0]) / 8, abs=1e-6)
    assert found.same_side == (1.0 if before[0] >= 0.5 else 7 / 8)


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write twelve phantoms of twelve patients."""
    root = tmp_path_factory.mktemp("kaggle")
    for folder, name in (("NORMAL", "IM-{:04}-0001.jpeg"), ("PNEUMONIA", "person{}_bacteria_1.jpeg")):
        (root / "train" / folder).mkdir(parents=True)
        for n in range(6):
            path = root / "train" / folder / name.format(n)
            write_phantom(path, n, width=96, opacity=folder == "PNEUMONIA")
    return root


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Return the shipped recipe for a network of 32 pixels and few patients."""
    said = load_recipe("nightread").model_dump(mode="json")
    said["network"]["side"], said["split"]["folds"] = SIDE, 2
    return Recipe.model_validate(said)


@pytest.fixture(scope="module")
def bundle(kaggle: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bundle of the small network, quantised as in a release."""
    folder, model = tmp_path_factory.mktemp("bundle"), network()
    model.save(folder / "model.keras")
    cohort = read_cohort(recipe, kaggle, None, None, print)
    (folder / "model.tflite").write_bytes(to_int8(model, release.representative(recipe, cohort, None)))
    names = ("model.keras", "model.tflite")
    card = {
        "card_version": 1,
        "name": "small",
        "version": "1.2.3",
        "files": {name: {"sha256": sha256(folder / name)} for name in names},
        "labels": list(LABELS),
        "input": {"side": SIDE, "preprocessing_version": FILM_ALONE},
        "calibration": {"temperature": TEMPERATURE},
        "operating_points": {"balanced": POINT},
        "default_operating_point": "balanced",
        "recipe": recipe.model_dump(mode="json"),
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def export(*arguments: object) -> Result:
    return CliRunner().invoke(cli.export, [str(argument) for argument in arguments])


def test_command_writes_a_float_file(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "float.tflite"
    done = export("--bundle", bundle, "--format", "float", "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert f"wrote {out}: {out.stat().st_size} bytes, sha256 {sha256(out)}" in done.stderr
    inputs = images(3)
    assert np.abs(by_litert(out.read_bytes(), inputs) - evidence_of(network(), inputs)).max() < 1e-4


def test_command_writes_an_onnx_file_with_metadata(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    done = export("--bundle", bundle, "--format", "onnx", "--out", out)
    assert done.exit_code == 0, done.output
    inputs = images(3)
    evidence, probabilities = by_onnx(out.read_bytes(), inputs)
    assert np.abs(evidence - evidence_of(network(), inputs)).max() < 1e-4
    assert np.abs(probabilities - scores_of(evidence, TEMPERATURE).probabilities).max() < 1e-5
    file = onnx.load_from_string(out.read_bytes())
    facts = {metadata_prop.key: metadata_prop.value for metadata_prop in file.metadata_props}
    assert facts == facts_of(load_bundle(bundle, "tensorflow"))
    assert facts["model_sha256"] == load_bundle(bundle).sha256
    assert facts["network_sha256"] == sha256(bundle / "model.tflite")
    assert facts["reference_sha256"] == sha256(bundle / "model.keras")
    assert facts["averaged_with"] == ""
    assert (facts["name"], facts["version"], float(facts["temperature"])) == ("small", "1.2.3", TEMPERATURE)
    assert json.loads(facts["labels"]) == ["normal", "bacterial", "viral"]
    assert json.loads(facts["operating_points"])["balanced"]["threshold"] == POINT["threshold"]
    assert DISCLAIMER in file.doc_string


def test_command_reproduces_the_bundles_int8_file(bundle: Path, kaggle: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.tflite"
    done = export("--bundle", bundle, "--format", "int8", "--data", kaggle, "--out", out)
    assert done.exit_code == 0, done.output
    assert sha256(out) == load_bundle(bundle).network_sha256
    assert "The file equals the bundle's model.tflite." in done.stderr


def test_command_reports_a_different_int8_file(bundle: Path, kaggle: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(kaggle.rglob("*.jpeg"))):
        copy = tmp_path / path.relative_to(kaggle)
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_phantom(copy, 500 + number, width=96)
    out = tmp_path / "other.tflite"
    done = export("--bundle", bundle, "--format", "int8", "--data", tmp_path, "--out", out)
    assert done.exit_code == 0, done.output
    assert sha256(out) != load_bundle(bundle).network_sha256
    assert "The file differs from the bundle's model.tflite" in done.stderr


@pytest.fixture(scope="module")
def film_bundle(kaggle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bundle with a film network that was quantised as in a release."""
    folder, film = with_lungs(tmp_path_factory.mktemp("film") / "bundle"), network(WHOLE_SIDE)
    said = load_recipe("lungs").model_dump(mode="json")
    said["split"]["folds"] = 2
    recipe = Recipe.model_validate(said)
    cohort, _ = with_network(
        recipe, read_cohort(recipe, kaggle, None, None, print), part_of(load_bundle(folder))
    )
    film.save(folder / "film.keras")
    inputs = release.representative(recipe, whole_films(cohort), None)
    (folder / "film.tflite").write_bytes(to_int8(film, inputs))
    card = json.loads((folder / "card.json").read_text())
    for name in ("film.keras", "film.tflite"):
        card["files"][name] = {"sha256": sha256(folder / name)}
    (folder / "card.json").write_text(json.dumps({**card, "recipe": said}))
    return folder


def exported(bundle: Path, out: Path, *arguments: object) -> bytes:
    done = export("--bundle", bundle, *arguments, "--out", out)
    assert done.exit_code == 0, done.output
    return out.read_bytes()


def test_command_writes_the_film_network_as_a_float_file(film_bundle: Path, tmp_path: Path) -> None:
    inputs = images(3, WHOLE_SIDE)
    film = exported(film_bundle, tmp_path / "film.tflite", "--format", "float", "--film")
    assert np.abs(by_litert(film, inputs) - evidence_of(network(WHOLE_SIDE), inputs)).max() < 1e-4
    other = exported(film_bundle, tmp_path / "model.tflite", "--format", "float")
    assert by_litert(other, inputs).shape != by_litert(film, inputs).shape


def test_command_reproduces_the_bundles_film_network(film_bundle: Path, kaggle: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.tflite"
    done = export("--bundle", film_bundle, "--format", "int8", "--film", "--data", kaggle, "--out", out)
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == (film_bundle / "film.tflite").read_bytes()
    assert "The file equals the bundle's film.tflite." in done.stderr


def test_the_mean_of_two_onnx_files_is_the_models_score(film_bundle: Path, tmp_path: Path) -> None:
    """As docs/edge.md describes it, for a first look."""
    of_files = [
        exported(film_bundle, tmp_path / f"{number}.onnx", "--format", "onnx", *option)
        for number, option in enumerate(([], ["--film"]))
    ]
    bundle = load_bundle(film_bundle, "tensorflow")
    inputs, films = images(4, bundle.side), images(8, WHOLE_SIDE)[4:]
    means = [
        by_onnx(file, grey)[0].astype(float).mean(axis=(1, 2))
        for file, grey in zip(of_files, (inputs, films), strict=True)
    ]
    found = softmax((means[0] + means[1]) / 2 / bundle.temperature)
    first = Classifier(replace(bundle, second_look=None), "tensorflow")
    expected = first.predict_batch(inputs, films).probabilities
    assert np.abs(found - expected).max() < 1e-5
    facts = [
        {each.key: each.value for each in onnx.load_from_string(file).metadata_props} for file in of_files
    ]
    assert facts == [facts_of(bundle), facts_of(bundle, film=True)]
    networks = [sha256(film_bundle / name) for name in ("model.tflite", "film.tflite")]
    assert [each["network_sha256"] for each in facts] == networks
    assert [each["averaged_with"] for each in facts] == networks[::-1]
    references = [sha256(film_bundle / name) for name in ("model.keras", "film.keras")]
    assert [each["reference_sha256"] for each in facts] == references


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--format", "onnx", "--film"), "has no film network: omit --film"),
        (("--format", "browser", "--film"), "writes all networks of a model: omit --film"),
        (("--format", "int8"), "--format int8 needs --data"),
        (("--format", "float", "--data", "{kaggle}"), "the other formats take neither --data nor --table"),
        (("--format", "int8", "--data", "{bundle}"), "is not a data set"),
        (("--format", "coreml"), "is not one of"),
        ((), "Missing option '--format'"),
    ],
)
def test_wrong_use_is_explained_and_writes_nothing(
    bundle: Path, kaggle: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    given = [argument.format(bundle=bundle, kaggle=kaggle) for argument in arguments]
    done = export("--bundle", bundle, *given, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_bundle_without_reference_is_an_error(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in ("card.json", "model.tflite"):
        (folder / name).write_bytes((bundle / name).read_bytes())
    done = export("--bundle", folder, "--format", "onnx", "--out", tmp_path / "out.onnx")
    assert done.exit_code == 2
    assert "has no model.keras, which its card names" in " ".join(done.stderr.split())


def test_the_test_networks_relu_limit_is_reached() -> None:
    """Otherwise the tests above would not cover it."""
    model = network()
    limited = keras.Model(model.input, model.get_layer("limited").output)
    assert (evidence_of(limited, images(3)) == 6).any()
