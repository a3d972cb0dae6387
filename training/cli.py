"""The commands explore, train, export, evaluate, robustness, gate and describe. `worker.cli` imports them when a person runs one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.errors import WrongInput
from worker.errors import ModelUnusable

if TYPE_CHECKING:
    from training.data.cohort import Cohort
    from training.export.release import TrainedModel
    from training.fit.branches import Starts
    from training.fit.crossfit import Workspace
    from training.lungs.finding import LungsPart
    from training.recipe import Recipe
    from worker.inference.bundle import Bundle

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PATH = click.Path(path_type=Path)


class _NewFile(click.Path):
    """A path of a file to write. A missing folder is an error at once, not after minutes of work."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; fail if its folder does not exist."""
        path = Path(str(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"There is no folder {path.parent}.", param, ctx)
        return path


_NEW_FILE = _NewFile(dir_okay=False, writable=True, path_type=Path)


def _print_line(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.option(
    "--recipe",
    "recipe_name",
    default="lungs",
    show_default=True,
    help="Name of a recipe, or path of a .toml file.",
)
@click.option(
    "--data",
    type=_FOLDER,
    required=True,
    help="Folder with NORMAL and PNEUMONIA, or with train/ that holds the two.",
)
@click.option("--table", type=_FILE, help="CSV of more images: file, label, patient_id.")
@click.option(
    "--masks",
    type=_FOLDER,
    help="Folder of lung masks, as PNG files named like the images.",
)
@click.option(
    "--lungs",
    "lungs_of",
    type=_FOLDER,
    help="Bundle whose lung network is used, without masks. Default: that of --from.",
)
@click.option("--out", type=_PATH, required=True, help="Folder of the bundle to write.")
@click.option("--from", "start", type=_FOLDER, help="Bundle whose network is tuned further.")
@click.option("--cpu-limit", type=click.FloatRange(1, 100), help="Maximum per cent of all cores.")
@click.option("--epochs", type=click.IntRange(min=1), help="Override the recipe's value.")
@click.option("--seed", type=int, help="Override the recipe's value.")
@click.option("--limit", type=click.IntRange(min=40), help="Maximum number of images, for trial runs.")
def train(
    recipe_name: str,
    data: Path,
    table: Path | None,
    masks: Path | None,
    lungs_of: Path | None,
    out: Path,
    start: Path | None,
    *,
    cpu_limit: float | None,
    epochs: int | None,
    seed: int | None,
    limit: int | None,
) -> None:
    """Train a model and write its bundle.

    Intermediate results are kept in OUT-work: the same command continues an interrupted training.
    """
    from training.baseline.recipe import is_baseline_recipe
    from training.recipe import with_overrides

    try:
        if is_baseline_recipe(recipe_name):
            options = {"epochs": epochs, "seed": seed, "limit": limit, "table": table, "cpu_limit": cpu_limit}
            _print_result(out, _train_baseline(recipe_name, data, out, start, **options))
            return
        recipe, starts = _recipe_and_starts(recipe_name, start)
        recipe = with_overrides(recipe, epochs, seed)
        from training.data.cohort import read_cohort
        from training.export import release
        from training.fit.crossfit import Workspace
        from training.lungs.finding import add_to_bundle as add_lungs

        cohort = read_cohort(recipe, data, table, limit, _print_line)
        work = Workspace(out.with_name(f"{out.name}-work"), _print_line, cpu_limit)
        lungs = None
        if recipe.lungs is not None or masks is not None:
            cohort, lungs = _cut_to_lungs(recipe, cohort, masks, lungs_of or start, work)
        trained = release.train_model(recipe, cohort, starts, work)
        preliminary = epochs is not None or limit is not None
        finder = None if lungs is None else lungs.finder()
        card = release.write_bundle(recipe, cohort, trained, out, finder=finder, preliminary=preliminary)
        if lungs is not None:
            add_lungs(out, lungs)
        if recipe.distance is not None:
            _measure_distance(recipe, cohort, trained, out)
        if start is not None:
            _keep_gate(start, out)
        elif preliminary:
            _print_line("a trial run fits no gate")
        else:
            _fit_gate(recipe, cohort, work, out)
    except (WrongInput, ModelUnusable) as error:
        raise click.UsageError(str(error)) from error
    _print_result(out, card)


def _train_baseline(
    recipe_name: str, data: Path, out: Path, start: Path | None, **options: Any
) -> dict[str, Any]:
    """Train the replaced application's network, for comparison."""
    from training.baseline.train import train_baseline

    if start is not None:
        raise WrongInput("The replaced application's network cannot be tuned further: omit --from.")
    return train_baseline(recipe_name, data, out, **options, print_line=_print_line)


def _recipe_and_starts(recipe_name: str, start: Path | None) -> tuple[Recipe, Starts]:
    """Return the recipe, and the networks to tune further, if any."""
    from training.fit.branches import Starts
    from training.recipe import load_recipe, recipe_of_card
    from worker.inference.bundle import load_bundle

    if start is None:
        return load_recipe(recipe_name), Starts()
    bundle = load_bundle(start, runtime="tensorflow")
    # The start has seen patients that a split would hold out.
    left_out = {"teacher", "splits"}
    base = recipe_of_card(bundle.card).model_dump(mode="json", exclude=left_out)
    recipe = load_recipe(recipe_name, base).model_copy(update={"splits": None})
    from training.export.release import film_reference, reference

    return recipe, Starts(reference(bundle), film_reference(bundle))


def _cut_to_lungs(
    recipe: Recipe, cohort: Cohort, masks: Path | None, other: Path | None, work: Workspace
) -> tuple[Cohort, LungsPart]:
    """Cut each film to its lungs, with networks fitted to masks, or with the one of another bundle."""
    from training.lungs.finding import part_of, with_masks, with_network
    from worker.inference.bundle import load_bundle

    if masks is not None:
        return with_masks(recipe, cohort, masks, work)
    if other is None:
        raise WrongInput("This recipe cuts films to the lungs: give --masks, or a bundle with --lungs.")
    return with_network(recipe, cohort, part_of(load_bundle(other)))


def _measure_distance(recipe: Recipe, cohort: Cohort, trained: TrainedModel, out: Path) -> None:
    """Add to the bundle how far an image is from the training data."""
    from training.distance.fit import add_to_bundle, fit_distance

    add_to_bundle(out, fit_distance(recipe, cohort, trained, out, _print_line))


def _keep_gate(start: Path, out: Path) -> None:
    """Copy the gate of the start bundle: a frontal chest looks the same in every hospital."""
    from training.gate.release import add_to_bundle, part_of
    from worker.inference.bundle import load_bundle

    part = part_of(load_bundle(start))
    if part is not None:
        add_to_bundle(out, part)


def _fit_gate(recipe: Recipe, cohort: Cohort, work: Workspace, out: Path) -> None:
    from training.gate.release import add_to_bundle, chest_sets, fit_gate

    add_to_bundle(out, fit_gate(chest_sets(recipe, cohort), recipe.gate, work))


@click.command()
@click.option("--bundle", type=_FOLDER, required=True, help="Bundle whose model.keras is exported.")
@click.option(
    "--film", is_flag=True, help="Export film.keras, the network that sees the whole film, instead."
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["int8", "float", "onnx", "browser"]),
    required=True,
    help="int8: LiteRT as the worker uses it; float: LiteRT in float32; onnx: ONNX; browser: a folder with a page "
    "that scores images without a server.",
)
@click.option("--data", type=_FOLDER, help="For int8: the training images, for the quantisation.")
@click.option("--table", type=_FILE, help="For int8: the table of the training, if any.")
@click.option(
    "--node-modules",
    type=_FOLDER,
    help="For browser: folder with LiteRT.js as npm installs it. Default: npm fetches it.",
)
@click.option(
    "--out", type=_NewFile(path_type=Path), required=True, help="File or, for browser, folder to write."
)
def export(
    bundle: Path,
    file_format: str,
    data: Path | None,
    table: Path | None,
    node_modules: Path | None,
    out: Path,
    *,
    film: bool,
) -> None:
    """Convert a model for other software.

    The scores need the values in the model card, so copy card.json along. docs/edge.md explains them. A model with a film
    network needs both networks: export each of them, or the page of --format browser, which has both.
    """
    if (file_format == "int8") != (data is not None) or (table is not None and data is None):
        raise click.UsageError(
            "--format int8 needs --data; the other formats take neither --data nor --table."
        )
    if film and file_format == "browser":
        raise click.UsageError("--format browser writes all networks of a model: omit --film.")
    if file_format == "browser":
        _export_page(bundle, node_modules, out)
    elif node_modules is not None:
        raise click.UsageError("Only --format browser takes --node-modules.")
    else:
        _export_file(bundle, file_format, data, table, out, film=film)


def _export_page(bundle: Path, node_modules: Path | None, out: Path) -> None:
    from training.export.browser.folder import write_folder
    from worker.inference.bundle import load_bundle

    try:
        size = write_folder(load_bundle(bundle), out, node_modules)
    except (WrongInput, ModelUnusable) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.UsageError(f"{out} cannot be written: {error.strerror}.") from error
    _print_line(f"wrote {out}: {size} bytes. Serve it as static files; docs/edge.md says how.")


def _export_file(
    bundle: Path, file_format: str, data: Path | None, table: Path | None, out: Path, *, film: bool
) -> None:
    from worker.inference.bundle import load_bundle

    try:
        content = _exported(load_bundle(bundle, runtime="tensorflow"), file_format, data, table, film=film)
        out.write_bytes(content)
    except (WrongInput, ModelUnusable) as error:
        raise click.UsageError(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.UsageError(f"{error.name} is missing: install nightread[train,tensorflow].") from error
    except OSError as error:
        raise click.UsageError(f"{out} cannot be written: {error.strerror}.") from error
    _print_line(f"wrote {out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


def _exported(
    bundle: Bundle, file_format: str, data: Path | None, table: Path | None, *, film: bool
) -> bytes:
    """Return the content of the file."""
    from training.export import release
    from training.export.litert import to_float

    model = release.film_reference(bundle) if film else release.reference(bundle)
    if model is None:
        raise WrongInput(f"The model in {bundle.folder} has no film network: omit --film.")
    if file_format == "onnx":
        from training.export.onnx import facts_of, to_onnx

        return to_onnx(model, bundle.temperature, facts_of(bundle, film=film))
    return to_float(model) if data is None else _quantised(bundle, model, data, table, film=film)


def _quantised(bundle: Bundle, model: Any, data: Path, table: Path | None, *, film: bool) -> bytes:
    """Quantise again. The same images and software as in the training give the bundle's own file."""
    from training.data.cohort import read_cohort
    from training.export import release
    from training.export.litert import to_int8
    from training.recipe import recipe_of_card
    from worker.inference.bundle import FILM_FILES, RUNTIME_FILES
    from worker.inference.lungs import WHOLE_SIDE, open_lungs

    recipe = recipe_of_card(bundle.card)
    cohort = read_cohort(recipe, data, table, None, _print_line)
    if film:
        # The images that were read are whole films.
        name, content = (
            FILM_FILES["litert"],
            to_int8(model, release.representative(recipe, cohort, None, WHOLE_SIDE)),
        )
    else:
        finder = open_lungs(bundle.folder, bundle.card)
        inputs = release.representative(recipe, cohort, finder)
        name, content = RUNTIME_FILES["litert"], release.served(recipe, model, inputs)
    same = hashlib.sha256(content).hexdigest() == bundle.card["files"][name]["sha256"]
    _print_line(f"The file {'equals' if same else 'differs from'} the bundle's {name}.")
    return content


@click.command()
@click.option("--bundle", type=_PATH, required=True, help="Folder of the model.")
@click.option("--data", type=_PATH, help="Folder that holds NORMAL and PNEUMONIA.")
@click.option(
    "--table", type=_PATH, help="CSV of images: file, label; optionally age_years, sex, view, patient_id."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--report", type=_NEW_FILE, help="HTML report to write, with plots and images.")
@click.option("--predictions", type=_NEW_FILE, help="CSV to write, with one line an image.")
@click.option(
    "--prevalence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Expected share of pneumonia where the model will be used; 0.1 is one in ten.",
)
def evaluate(
    bundle: Path,
    data: Path | None,
    table: Path | None,
    report: Path | None,
    predictions: Path | None,
    prevalence: float | None,
    *,
    as_json: bool,
) -> None:
    """Measure a model on labelled images, at its own default operating point. Fits nothing.

    Exit code 0: measured, even if some images were rejected. 1: no image could be scored.
    """
    from training.evaluation.evaluate import document_of
    from training.evaluation.listing import list_images
    from training.evaluation.predictions import write_predictions
    from training.evaluation.report import write_report
    from training.evaluation.scoring import NothingScored, score_images
    from training.evaluation.text import as_text
    from worker.inference.bundle import load_bundle
    from worker.progress import progress

    try:
        model, radiographs = load_bundle(bundle), list_images(data, table)
        root = data or Path(str(table)).parent
        with progress(len(radiographs), "Scoring") as advance:
            scored_images = score_images(model, radiographs, advance)
    except NothingScored as error:
        raise click.ClickException(str(error)) from error
    except (WrongInput, ModelUnusable) as error:
        raise click.UsageError(str(error)) from error
    if predictions is not None:
        write_predictions(predictions, scored_images, root)
    _print_line("computing metrics")
    document = document_of(scored_images, prevalence=prevalence)
    if report is not None:
        write_report(report, scored_images, document, root)
    click.echo(json.dumps(document, indent=2, allow_nan=False) if as_json else as_text(document))


@click.command()
@click.option("--bundle", type=_PATH, required=True, help="Folder of the model.")
@click.option("--data", type=_PATH, help="Folder that holds NORMAL and PNEUMONIA.")
@click.option("--table", type=_PATH, help="CSV of images: file, label; optionally patient_id.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--markdown", "as_tables", is_flag=True, help="Tables for a document on stdout.")
@click.option("--plot", "picture", type=_NEW_FILE, help="SVG file to write.")
def robustness(
    bundle: Path,
    data: Path | None,
    table: Path | None,
    picture: Path | None,
    *,
    as_json: bool,
    as_tables: bool,
) -> None:
    """Measure how a model's answers change when the pictures do.

    Margins, collimation, rotation, zoom, gamma, inversion, writing, half resolution and JPEG quality. Exit code 0:
    measured. 1: no untouched image could be scored.
    """
    from training.evaluation.listing import list_images
    from training.evaluation.scoring import NothingScored
    from training.robustness.changes import all_changes
    from training.robustness.measuring import measure
    from training.robustness.plot import plot
    from training.robustness.table import table as robustness_table
    from training.robustness.text import as_markdown, as_text
    from worker.inference.bundle import load_bundle
    from worker.progress import progress

    if as_json and as_tables:
        raise click.UsageError("Give either --json or --markdown.")
    try:
        model, radiographs = load_bundle(bundle), list_images(data, table)
        with progress(len(radiographs), "Measuring") as advance:
            measured = measure(model, radiographs, all_changes(), advance)
    except NothingScored as error:
        raise click.ClickException(str(error)) from error
    except (WrongInput, ModelUnusable) as error:
        raise click.UsageError(str(error)) from error
    document = robustness_table(measured)
    if picture is not None:
        picture.write_bytes(plot(document).content)
    if as_json:
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        click.echo(as_markdown(document) if as_tables else as_text(document))


@click.command()
@click.option("--bundle", type=_PATH, required=True, help="Folder of the model.")
@click.option("--out", type=_PATH, required=True, help="Folder for the pictures; may be the bundle's.")
@click.option("--data", type=_PATH, help="Folder that holds NORMAL and PNEUMONIA, to choose samples from.")
@click.option("--table", type=_PATH, help="CSV of such images: file, label.")
def describe(bundle: Path, out: Path, data: Path | None, table: Path | None) -> None:
    """Draw a model: a diagram of each network, and sample predictions with their maps.

    Without --data and --table the samples are phantoms. A sheet of real images shows them: never commit it.
    """
    from training.description.describing import describe as describe_bundle
    from training.evaluation.listing import list_images
    from training.evaluation.scoring import NothingScored
    from worker.inference.bundle import load_bundle

    try:
        model = load_bundle(bundle)
        radiographs = list_images(data, table) if data or table else None
        describe_bundle(model, out, radiographs, _print_line)
    except NothingScored as error:
        raise click.ClickException(str(error)) from error
    except (WrongInput, ModelUnusable) as error:
        raise click.UsageError(str(error)) from error


@click.command()
@click.option(
    "--bundle",
    "bundles",
    type=_PATH,
    required=True,
    multiple=True,
    help="Folder of a model; may be repeated.",
)
@click.option("--data", type=_PATH, help="Folder that holds NORMAL and PNEUMONIA: frontal chests.")
@click.option("--table", type=_PATH, help="CSV of frontal chests: file, label; optionally patient_id.")
@click.option("--others", type=_FOLDER, help="Folder of JPEG and PNG files that must be rejected.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def gate(
    bundles: tuple[Path, ...], data: Path | None, table: Path | None, others: Path | None, *, as_json: bool
) -> None:
    """Compare what models reject before they score: real chests, and pictures that must be rejected.

    The latter are the same chests inverted, turned, cut and shuffled; drawings of other things; and --others.
    """
    from training.evaluation.listing import list_images
    from training.gate.comparison import as_text, compare, pictures_in
    from worker.inference.bundle import load_bundle
    from worker.progress import progress

    try:
        models, radiographs = [load_bundle(bundle) for bundle in bundles], list_images(data, table)
        with progress(len(radiographs), "Checking") as advance:
            document = compare(models, radiographs, pictures_in(others), advance)
    except (WrongInput, ModelUnusable) as error:
        raise click.UsageError(str(error)) from error
    click.echo(json.dumps(document, indent=2, allow_nan=False) if as_json else as_text(document))


@click.command()
@click.argument("data", required=False, type=_FOLDER)
@click.option(
    "--table",
    type=_FILE,
    help="CSV of (more) images: file, label; optionally age_years, sex, view, patient_id.",
)
@click.option("--out", type=_NEW_FILE, help="HTML page to write. Default: explore.html; with --json, none.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def explore(data: Path | None, table: Path | None, out: Path | None, *, as_json: bool) -> None:
    """Examine labelled images before training: write one HTML page with figures, warnings and pictures.

    DATA holds NORMAL and PNEUMONIA, or train/, val/ and test/ that each hold the two.
    """
    from training.exploration.explore import document
    from training.exploration.explore import explore as explored
    from training.exploration.findings import alarms
    from training.exploration.inventory import take_inventory
    from training.exploration.report import report
    from worker.progress import progress

    try:
        inventory = take_inventory(data, table)
        with progress(len(inventory.images), "Reading") as advance:
            exploration = explored(inventory, advance)
    except WrongInput as error:
        raise click.UsageError(str(error)) from error
    for sentence in alarms(exploration):
        _print_line(f"Warning: {sentence}")
    if out is not None or not as_json:
        page = out or Path("explore.html")
        page.write_text(report(exploration), encoding="utf-8")
        _print_line(f"wrote {page}")
    if as_json:
        click.echo(json.dumps(document(exploration), indent=2, allow_nan=False))


def _print_result(out: Path, card: dict[str, Any]) -> None:
    from training.evaluation.text import figure

    for name, figures in card["metrics"].items():
        if "auc_ci" in figures:
            _print_line(f"{name}: n {figures['n']}, auc{figure(figures, 'auc')}")
    _print_line(f"wrote {out}")
