"""training.gate.release: its examples, its threshold, and its way into a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.gates import ungated_bundle
from tests.unit.training.eager import eagerly
from training.data.cohort import read_cohort
from training.data.radiographs import Radiograph, list_folders
from training.fit.crossfit import Workspace
from training.gate import release as gate
from training.gate.examples import LABELS, MIRRORED, NETWORK_SIDE, Chests, Examples, draw, folds_of
from training.gate.measures import HIGHEST, LOWEST, RULE, GateAnswers, choose_threshold, interval, measured
from training.gate.negatives import NEVER_TRAINED_ON, SPOILED
from training.gate.release import (
    Batches,
    GatePart,
    add_to_bundle,
    chest_sets,
    fit_gate,
    label_probabilities,
    network,
    part_of,
)
from training.gate.variation import STRESSES
from training.recipe import GateSection, Recipe, load_recipe
from worker.inference.bundle import load_bundle
from worker.inference.gate import open_gate
from worker.phantom import write_phantom

Floats = NDArray[np.float64]
SMALL = GateSection(
    images=80,
    phantoms=9,
    drawings=2,
    widths=(4, 4, 4, 8),
    epochs=1,
    batch_size=16,
    learning_rate=3e-3,
    seed=4,
)


@pytest.fixture(scope="module", autouse=True)
def train_eagerly() -> Iterator[None]:
    with eagerly():
        yield


@pytest.fixture(scope="module", autouse=True)
def few_drawings() -> Iterator[None]:
    """Measure three drawings, not 200, of each kind that no gate is trained on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "_NEVER_SEEN", 3)
        yield


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[Radiograph]:
    root = tmp_path_factory.mktemp("chests")
    for folder, name, opacity in (
        ("NORMAL", "IM-{:04}-{:04}", False),
        ("PNEUMONIA", "person{}_virus_{}", True),
    ):
        (root / folder).mkdir()
        for n in range(10):
            path = root / folder / f"{name.format(n // 2, n)}.jpeg"
            write_phantom(path, n + 50 * opacity, width=120, opacity=opacity)
    return list_folders(root)


@pytest.fixture(scope="module")
def chests(radiographs: list[Radiograph]) -> dict[str, Chests]:
    said = load_recipe("nightread").model_dump()
    said["network"]["side"], said["split"]["folds"], said["gate"] = 96, 2, SMALL
    recipe = Recipe.model_validate(said)
    root = radiographs[0].path.parent.parent
    return chest_sets(recipe, read_cohort(recipe, root, None, None, lambda _: None))


@pytest.fixture(scope="module")
def examples(chests: dict[str, Chests]) -> Iterator[Examples]:
    """Draw the examples once; every gate of this module is fitted to them."""
    examples = draw(chests, SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "draw", lambda *_: examples)
        yield examples


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def taught() -> list[Examples]:
    """The examples of each network, in order."""
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def part(
    chests: dict[str, Chests], examples: Examples, said: list[str], taught: list[Examples], folder: Path
) -> GatePart:
    """Fit a gate to `examples`; record its networks' examples and its output."""
    fitted: Callable[[GateSection, Examples, int, Workspace], keras.Model] = gate._fitted

    def listening(plan: GateSection, examples: Examples, seed: int, work: Workspace) -> keras.Model:
        taught.append(examples)
        return fitted(plan, examples, seed, work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "_fitted", listening)
        return fit_gate(chests, SMALL, Workspace(folder, said.append, cpu_limit=90))


def chances(others: Sequence[float] | Floats) -> Floats:
    """Return label probabilities with the given 1 - p(frontal), all of it on `inverted`."""
    p = np.zeros((len(others), len(LABELS)))
    p[:, 1] = others
    p[:, 0] = 1 - p[:, 1]
    return p


def evenly(count: int, top: Sequence[float]) -> Floats:
    """Return this many probabilities: the highest as given, the others low."""
    return chances([*np.linspace(0, 0.2, count - len(top)), *top])


def turned_away(p: Floats, threshold: float) -> int:
    return int((1 - p[:, 0] > threshold).sum())


def test_rule_allows_one_rejection_in_a_thousand() -> None:
    p = evenly(3000, [0.6, 0.7, 0.8, 0.9])
    threshold = choose_threshold({"children": p}, {})
    assert threshold == pytest.approx(0.6, abs=2e-4)
    assert turned_away(p, threshold) == 3
    assert turned_away(p, threshold - 0.001) == 4


def test_rule_allows_one_rejection_in_a_small_set() -> None:
    p = evenly(500, [0.7, 0.95])
    assert choose_threshold({"adults": p}, {}) == pytest.approx(0.7, abs=2e-4)


def test_rule_applies_to_each_set() -> None:
    sets = {"children": evenly(5000, [0.4] * 6), "adults": evenly(500, [0.8, 0.9])}
    assert choose_threshold(sets, {}) == pytest.approx(0.8, abs=2e-4)


def test_rule_allows_five_stressed_rejections_in_a_thousand() -> None:
    stressed = {"children": {"dark": evenly(1000, [0.75] * 11), "bright": evenly(1000, [])}}
    assert choose_threshold({"children": evenly(1000, [])}, stressed) == pytest.approx(0.75, abs=2e-4)
    stressed["children"]["dark"] = evenly(1000, [0.75] * 10)
    assert choose_threshold({"children": evenly(1000, [])}, stressed) == LOWEST


def test_the_threshold_has_a_floor_and_a_ceiling() -> None:
    assert choose_threshold({"children": evenly(100, [])}, {}) == LOWEST
    assert choose_threshold({"children": evenly(100, [1.0] * 40)}, {}) == HIGHEST


def test_interval_of_a_share_is_wilsons() -> None:
    """The values are from Newcombe, Statistics in Medicine 17, 1998, table I."""
    assert interval(81 / 263, 263) == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert interval(15 / 148, 148) == pytest.approx([0.0624, 0.1605], abs=1e-4)
    assert interval(0 / 20, 20) == pytest.approx([0, 0.1611], abs=1e-4)
    assert interval(1 / 29, 29) == pytest.approx([0.0061, 0.1718], abs=1e-4)


def test_patients_and_kinds_are_in_one_fold(examples: Examples, chests: dict[str, Chests]) -> None:
    drawn = [kind for kind in set(examples.kinds.tolist()) if kind not in {*SPOILED, "children", "phantom"}]
    assert len(drawn) > 15
    for kind in drawn:
        assert len(set(examples.folds[examples.kinds == kind])) == 1
    assert set(examples.folds) == {0, 1} == set(range(folds_of(chests)))
    each = chests["children"]
    patients: dict[str, set[int]] = {name.patient: set() for name in each.radiographs}
    for radiograph, fold in zip(each.radiographs, each.folds.tolist(), strict=True):
        patients[radiograph.patient].add(fold)
    assert {len(folds) for folds in patients.values()} == {1}


def test_each_image_has_variants_and_spoiled_copies(examples: Examples, chests: dict[str, Chests]) -> None:
    sound = examples.kinds == "children"
    # 80 variants of 20 images: two rounds of two valid variants and one spoiled.
    assert sound.sum() == 80
    assert (examples.labels[sound] == 0).all()
    assert np.isin(examples.kinds, list(SPOILED)).sum() == 40 + 9
    for how, (code, _) in SPOILED.items():
        assert set(examples.labels[examples.kinds == how]) <= {LABELS.index(code)}
    assert np.array_equal(draw(chests, SMALL).inputs, examples.inputs)


def test_mirror_swaps_left_and_right_turns(examples: Examples) -> None:
    batches = Batches(examples, size=len(examples.labels), seed=1)
    inputs, targets = batches[0]
    assert inputs.shape == (len(examples.labels), NETWORK_SIDE, NETWORK_SIDE, 1)
    swapped = {LABELS[a]: LABELS[b] for a, b in enumerate(MIRRORED.tolist()) if a != b}
    assert swapped == {"turned_right": "turned_left", "turned_left": "turned_right"}
    order = batches._order
    same = targets.argmax(axis=1) == examples.labels[order]
    turned = np.isin(examples.labels[order], [2, 3])
    assert same[~turned].all()
    assert 0 < same[turned].sum() < turned.sum()
    # An image that kept its label was not mirrored: only shifted and partly covered.
    for place in np.flatnonzero(turned):
        given = examples.inputs[order[place]].astype(int)[8:-8, 8:-8]
        kept, mirrored = (
            min(
                np.median(np.abs(np.roll(inputs[place, :, ::way, 0], (dy, dx), (0, 1))[8:-8, 8:-8] - given))
                for dy in range(-4, 5)
                for dx in range(-4, 5)
            )
            for way in (1, -1)
        )
        assert (kept <= mirrored) == same[place]


def test_batches_differ_between_epochs_and_not_between_runs(examples: Examples) -> None:
    one, two = (Batches(examples, size=16, seed=5) for _ in range(2))
    assert np.array_equal(one[0][0], two[0][0])
    two.on_epoch_end()
    assert not np.array_equal(one[0][0], two[0][0])


def test_the_network_is_small() -> None:
    assert network(load_recipe("nightread").gate.widths).count_params() < 90_000


def test_figures_are_by_group_stress_and_kind(examples: Examples) -> None:
    radiographs = [
        Radiograph(Path(f"{n}"), n >= 6, None, f"p{n // 2}", {"view": "PA" if n % 2 else "AP"})
        for n in range(10)
    ]
    plain = chances([0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.95, 0.1, 0.1])
    others = examples.at(np.isin(examples.kinds, ["inverted", "skull"]))
    p = chances(np.where(others.kinds == "skull", 0.99, 0.8))
    found = measured(
        GateAnswers(
            {"all": plain}, {"all": {"dark": plain, "bright": chances([0.0] * 10)}}, p, {"flower": plain}
        ),
        {"all": radiographs},
        others,
        0.85,
    )
    chests = found["chests"]["all"]
    assert (chests["n"], chests["patients"], chests["turned_away"], chests["share"]) == (10, 5, 2, 0.2)
    assert chests["share_ci"] == interval(0.2, 5)
    assert found["codes"] == [{"set": "all", "code": "inverted", "n": 2}]
    assert {row["group"]: (row["n"], row["turned_away"]) for row in found["groups"]} == {
        "normal": (6, 1),
        "pneumonia": (4, 1),
        "PA": (5, 1),
        "AP": (5, 1),
    }
    assert {row["stress"]: row["share"] for row in found["stressed"]} == {"dark": 0.2, "bright": 0.0}
    skulls, inverted = (int((others.kinds == kind).sum()) for kind in ("skull", "inverted"))
    assert found["others"] == [
        {"kind": "inverted", "n": inverted, "share": 0.0, "right_code": 0.0},
        {"kind": "skull", "n": skulls, "share": 1.0, "right_code": 0.0},
    ]
    assert found["never_trained_on"] == [{"kind": "flower", "n": 10, "share": 0.2}]


def test_a_gate_is_fitted_measured_and_described(part: GatePart, said: list[str]) -> None:
    section = part.section
    assert section["labels"] == list(LABELS)
    assert section["rule"] == RULE
    assert LOWEST <= section["threshold"] <= HIGHEST
    figures = section["chests"]["children"]
    assert (figures["n"], figures["patients"]) == (20, 10)
    assert figures["turned_away"] <= 1
    assert [row["stress"] for row in section["stressed"]] == list(STRESSES)
    assert set(SPOILED) & {row["kind"] for row in section["others"]}
    assert [row["kind"] for row in section["never_trained_on"]] == list(NEVER_TRAINED_ON)
    assert "NaN" not in json.dumps(section)
    assert [line.split(":")[0] for line in said if not line.startswith("epoch")] == [
        "gate",
        "gate-1",
        "gate-2",
        "gate-final",
    ]


def test_interrupted_gate_reuses_finished_networks(
    part: GatePart, chests: dict[str, Chests], folder: Path, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        if "final" not in path.name:
            shutil.copy(path, tmp_path)
    said: list[str] = []
    assert fit_gate(chests, SMALL, Workspace(tmp_path, said.append)) == part
    assert sum("exists already" in line for line in said) == 2
    assert sum(line.startswith("epoch 1/1") for line in said) == 1


def test_other_plan_does_not_reuse_networks(
    part: GatePart, chests: dict[str, Chests], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StartedError(Exception):
        pass

    def begin(*_: object) -> None:
        raise StartedError

    monkeypatch.setattr(gate, "_fitted", begin)
    assert fit_gate(chests, SMALL, Workspace(folder, lambda _: None)) == part
    with pytest.raises(StartedError):
        fit_gate(chests, SMALL.model_copy(update={"learning_rate": 1e-3}), Workspace(folder, lambda _: None))


def test_each_network_scores_its_unseen_fold(
    part: GatePart, taught: list[Examples], chests: dict[str, Chests]
) -> None:
    *parts, whole = taught
    assert [set(part.folds) for part in parts] == [{1}, {0}]
    assert set(whole.folds) == {0, 1}
    tried = gate._OutOfFold(chests, whole.at(whole.labels != 0))
    tried.add_fold(part.network, 1)
    asked = ~np.isnan(tried.plain["children"]).any(axis=1)
    assert np.array_equal(asked, chests["children"].folds == 1)
    assert np.array_equal(~np.isnan(tried.stressed["children"]["dark"]).any(axis=1), asked)
    assert np.array_equal(~np.isnan(tried.others).any(axis=1), whole.folds[whole.labels != 0] == 1)


def test_bundle_gets_a_gate_in_place_of_another(part: GatePart, tmp_path: Path) -> None:
    folder = ungated_bundle(tmp_path / "bundle")
    before = load_bundle(folder)
    add_to_bundle(folder, GatePart(part.network + b" ", part.section))
    add_to_bundle(folder, part)
    after = load_bundle(folder)
    assert after.network_sha256 == before.network_sha256
    assert after.sha256 != before.sha256
    assert after.card["gate"] == part.section
    assert list(after.card["files"]) == [*before.card["files"], "gate.tflite"]
    assert {key: each for key, each in after.card.items() if key not in {"gate", "files"}} == {
        key: each for key, each in before.card.items() if key != "files"
    }
    assert (folder / "gate.tflite").read_bytes() == part.network
    assert part_of(before) is None
    assert part_of(after) == part
    inputs = np.random.default_rng(1).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    served = open_gate(folder, after.card).codes(inputs)
    expected = label_probabilities(part.network, inputs)
    assert served == [
        None if 1 - p[0] <= part.section["threshold"] else LABELS[1 + p[1:].argmax()] for p in expected
    ]
