"""Ships a bundle as the default model: `make release-model BUNDLE=folder`. CONTRIBUTING.md says what remains to do by hand.

It copies the bundle to `models`, draws its pictures, and enters it where the program and the documents name the default
model. The former default stays, for the predictions that it made.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import click

from training.description.describing import describe
from worker.card.identity import GATE, card_sha256
from worker.config import ROOT
from worker.errors import ModelUnusable
from worker.inference.bundle import Bundle, load_bundle

IDENTITY, CONFIG, TRAINING = "worker/card/identity.py", "worker/config.py", "training/cli.py"
# These name the default model. Other pages give figures of one model, and keep its name.
PAGES = ("README.md", "docs/model.md", "docs/settings.md", "docs/thresholds.md", "docs/training.md")
_SHIPPED = re.compile(r"^(SHIPPED = \{\n)()", re.MULTILINE)
_DEFAULT = re.compile(r'(model: Path = Field\(ROOT / "models" / ")([^"]+)')
_RECIPE = re.compile(r'("--recipe",\n    "recipe_name",\n    default=")([^"]+)')


def release(source: Path, root: Path = ROOT) -> Path:
    """Copy a bundle to `models` and make it the default. Return its folder there.

    Args:
        source: the folder of the bundle.
        root: of the repository.

    Raises:
        UsageError: the bundle cannot be shipped; nothing was changed.
    """
    bundle = _checked(source)
    recipe, name = _recipe_of(bundle, root), f"{bundle.name}-{bundle.version}"
    folder = root / "models" / name
    if folder.exists():
        raise click.UsageError(f"{folder} exists already: give the new model another version.")
    shutil.copytree(source, folder)
    describe(load_bundle(folder), folder, None, click.echo)
    _replace(root / IDENTITY, _SHIPPED, f'    "{bundle.sha256}": "{card_sha256(bundle.card)}",\n')
    former = _replace(root / CONFIG, _DEFAULT, name)
    _replace(root / TRAINING, _RECIPE, recipe)
    for page in PAGES:
        text = (root / page).read_text(encoding="utf-8")
        (root / page).write_text(text.replace(f"models/{former}", f"models/{name}"), encoding="utf-8")
    return folder


def _checked(source: Path) -> Bundle:
    try:
        bundle = load_bundle(source, "tensorflow")
    except ModelUnusable as error:
        raise click.UsageError(str(error)) from error
    if bundle.card.get("preliminary"):
        raise click.UsageError(f"{source} comes from a trial run.")
    if GATE not in bundle.card["files"]:
        raise click.UsageError(f"{source} has no gate.")
    return bundle


def _recipe_of(bundle: Bundle, root: Path) -> str:
    """Return the name of the recipe that the model is made by. Raises UsageError."""
    for path in sorted((root / "training" / "recipes").glob("*.toml")):
        model = tomllib.loads(path.read_text(encoding="utf-8")).get("model", {})
        if (model.get("name"), model.get("version")) == (bundle.name, bundle.version):
            return path.stem
    raise click.UsageError(f"No recipe of training/recipes is that of {bundle.name} {bundle.version}.")


def _replace(path: Path, pattern: re.Pattern[str], new: str) -> str:
    """Replace the second group of the pattern's only match, and return what stood there."""
    text = path.read_text(encoding="utf-8")
    (match,) = pattern.finditer(text)
    path.write_text(text[: match.start(2)] + new + text[match.end(2) :], encoding="utf-8")
    return match[2]


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(bundle: Path) -> None:
    """Make BUNDLE the default model."""
    folder = release(bundle)
    click.echo(f"{folder.name} is the default model.")
    click.echo('CONTRIBUTING.md, "How to ship a model", says what remains.')


if __name__ == "__main__":
    main()
