"""The commands train, export and evaluate. The command nightread loads them when they are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from training.errors import WrongInput
from worker.errors import ModelUnusable

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PATH = click.Path(path_type=Path)


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.option(
    "--recipe", "recipe_name", default="nightread", show_default=True, help="Name, or a .toml file."
)
@click.option(
    "--data", type=_FOLDER, required=True, help="Folder that holds train/NORMAL and train/PNEUMONIA."
)
@click.option("--out", type=_PATH, required=True, help="Folder of the bundle to write.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--seed", type=int, help="Instead of the recipe's.")
@click.option("--limit", type=click.IntRange(min=40), help="At most so many images, to try things out.")
@click.option("--adults", type=_FILE, help="A table to measure the finished bundle on, once.")
def train(
    recipe_name: str,
    data: Path,
    out: Path,
    epochs: int | None,
    seed: int | None,
    limit: int | None,
    adults: Path | None,
) -> None:
    """Train a model and write its bundle."""
    from training.recipe import changed, load_recipe

    try:
        recipe = changed(load_recipe(recipe_name), epochs=epochs, seed=seed)
        from training import release

        parts = release.read_parts(recipe, data, limit, _say)
        fitted = release.train(recipe, parts, _say)
        card = release.release(
            recipe,
            parts,
            fitted.model,
            out,
            training=release.trained_by(recipe, fitted),
            preliminary=epochs is not None or limit is not None,
            adults=adults,
            say=_say,
        )
    except WrongInput as error:
        raise click.UsageError(str(error)) from error
    _say_result(out, card)


@click.command()
@click.option("--bundle", type=_FOLDER, required=True, help="Bundle whose model.keras is exported again.")
@click.option("--data", type=_FOLDER, required=True, help="The data that it was trained on.")
@click.option("--out", type=_PATH, required=True, help="Folder of the bundle to write.")
@click.option("--adults", type=_FILE, help="A table to measure the finished bundle on, once.")
def export(bundle: Path, data: Path, out: Path, adults: Path | None) -> None:
    """Quantise, calibrate and measure a reference model again, by the recipe on its card."""
    from training import release
    from training.recipe import of_card
    from worker.inference.bundle import load_bundle

    try:
        old = load_bundle(bundle, runtime="tensorflow")
        recipe = of_card(old.card)
        parts = release.read_parts(recipe, data, None, _say)
        card = release.release(
            recipe,
            parts,
            release.reference(old),
            out,
            training=old.card["training"],
            preliminary=bool(old.card["preliminary"]),
            adults=adults,
            say=_say,
        )
    except (WrongInput, ModelUnusable) as error:
        raise click.UsageError(str(error)) from error
    _say_result(out, card)


@click.command()
@click.option("--bundle", type=_PATH, required=True, help="Folder of the model.")
@click.option("--data", type=_PATH, help="Folder that holds NORMAL and PNEUMONIA.")
@click.option("--table", type=_PATH, help="CSV: file, label; any of age_years, sex, view, patient_id.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def evaluate(bundle: Path, data: Path | None, table: Path | None, *, as_json: bool) -> None:
    """Measure a model on labelled images, at its own default operating point. Fits nothing."""
    from training.data import list_folders, list_table
    from training.evaluate import evaluate as measured
    from worker.inference.bundle import load_bundle

    if (data is None) == (table is None):
        raise click.UsageError("Give either --data or --table.")
    try:
        radiographs = list_folders(data) if data is not None else list_table(Path(str(table)))
        _say(f"scoring {len(radiographs)} images")
        document = measured(load_bundle(bundle), radiographs)
    except (WrongInput, ModelUnusable) as error:
        raise click.UsageError(str(error)) from error
    click.echo(json.dumps(document, indent=2, allow_nan=False) if as_json else as_table(document))


def as_table(document: dict[str, Any]) -> str:
    """The same figures for a person."""
    point, model = document["operating_point"], document["model"]
    lines = [
        f"{model['name']} {model['version']}, sha256 {model['sha256'][:12]}",
        f"{document['n']} images of {document['patients']} patients; {document['turned_away']} turned away",
        f"operating point {point['name']}, threshold {point['threshold']:.4f}",
        f"uncertain from {point['band_low']:.4f} to {point['band_high']:.4f}",
        "",
        *_figures(document),
        "",
        "   ".join(f"{key.replace('_', ' ')} {value}" for key, value in document["confusion"].items()),
        "   ".join(f"{key} {value}" for key, value in document["verdicts"].items()),
    ]
    for trait, groups in document["subgroups"].items():
        lines += ["", *(_subgroup(trait, name, group) for name, group in groups.items())]
    return "\n".join(lines)


def _figures(document: dict[str, Any]) -> list[str]:
    names = [key for key in document if f"{key}_ci" in document]
    return [f"{name:32}{_figure(document[name], document[f'{name}_ci'])}" for name in names]


def _figure(value: float | None, interval: list[float | None]) -> str:
    if value is None:
        return "not defined"
    low, high = interval
    return f"{value:.3f}  [{low:.3f}, {high:.3f}]"


def _subgroup(trait: str, name: str, group: dict[str, Any]) -> str:
    label = f"{trait} {name} (n = {group['n']})"
    if group.get("suppressed"):
        return f"{label:32}too few to say"
    return (
        f"{label:32}auc {_figure(group['auc'], group['auc_ci'])}   "
        f"recall {_figure(group['recall'], group['recall_ci'])}   "
        f"specificity {_figure(group['specificity'], group['specificity_ci'])}"
    )


def _say_result(out: Path, card: dict[str, Any]) -> None:
    for name in ("held_out", "held_out_stressed", "adults"):
        if name in card["metrics"]:
            figures = card["metrics"][name]
            _say(f"{name}: n {figures['n']}, auc {_figure(figures['auc'], figures['auc_ci'])}")
    _say(f"wrote {out}")
