"""Writes the folder of static files that scores images in a browser: the page, a bundle's networks, and LiteRT.js.

The networks are the bundle's own files. LiteRT.js runs them with the same kernels (XNNPACK) as the worker. It is no part of
this repository: `package-lock.json` pins it, npm installs it, and each file of it is compared with the hash below.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from training.errors import WrongInput
from worker.card.identity import FILM, LUNGS
from worker.errors import REJECTIONS
from worker.inference.admission import Admission
from worker.inference.bundle import Bundle
from worker.inference.classifier import Classifier
from worker.inference.distance import DistanceMeasure, open_distance
from worker.inference.gate import FILE as GATE
from worker.inference.lungs import SECTION
from worker.inference.preprocess import FILM_ALONE, LUNGS_ALONE

_HERE = Path(__file__).parent
_LICENCE = _HERE.parents[1] / "network" / "weights" / "LICENSE.apache-2.0"
LOCK = ("package.json", "package-lock.json")
# The numbers of distance.npz, in a form that every browser reads.
DISTANCE = "distance.json"
PREPROCESSING = (FILM_ALONE, LUNGS_ALONE)
# Of the packages in the lock: file -> its name in the folder and its SHA-256. The build without relaxed SIMD runs in every
# browser, and has the same numbers everywhere.
RUNTIME = {
    "@litertjs/core/dist/index.js": (
        "index.js",
        "e7daccc3a31eef890848a737ccb863ded5f046a6b40c3fdc0556495adeb5d9b3",
    ),
    "@litertjs/core/wasm/litert_wasm_compat_internal.js": (
        "litert_wasm_compat_internal.js",
        "4d8f894b7883654fd6e8439730aa41e79ceaab7d19184fc4f1f0b0f1a2a2c8a5",
    ),
    "@litertjs/core/wasm/litert_wasm_compat_internal.wasm": (
        "litert_wasm_compat_internal.wasm",
        "5255c8ad06eabdbd2522cdebf6b22fc10faf74625c23a49b9e072570cd1fa41c",
    ),
    "@litertjs/wasm-utils/dist/index.js": (
        "wasm_utils.js",
        "e0e20bc28ab001ac732cf40d15b6eebd24fb0deaeb95eeba5100f51eebf015f2",
    ),
}
# Browsers find a module by its address, and ask for no source map that is not there.
_CHANGES = {b'"@litertjs/wasm-utils"': b'"./wasm_utils.js"', b"\n//# sourceMappingURL=index.js.map": b""}
_NOTICE = """LiteRT.js {version} (npm packages @litertjs/core and @litertjs/wasm-utils). Copyright Google LLC.
Licensed under the Apache License, Version 2.0: see LICENSE.apache-2.0.
Changed by Nightread: in index.js the address of the import of wasm_utils.js; in both, the reference to a source map.
"""


def write_folder(bundle: Bundle, out: Path, node_modules: Path | None = None) -> int:
    """Write the folder.

    Args:
        bundle: verified by `load_bundle`.
        out: must not exist, or be empty.
        node_modules: where the packages of the lock are installed; None: npm installs them for the export.

    Returns:
        The size of all files, in bytes.

    Raises:
        WrongInput: the page cannot run this model, `out` has content, or LiteRT.js is missing or another version.
        ModelUnusable: the card contradicts itself, or a network does not fit.
        OSError: a file cannot be read or written.
    """
    if bundle.preprocessing_version not in PREPROCESSING:
        raise WrongInput(
            f"The page implements preprocessing {' and '.join(PREPROCESSING)}; "
            f"the model in {bundle.folder} needs preprocessing {bundle.preprocessing_version}."
        )
    # The worker's own checks of gate, lung network, network and distance.
    Admission(bundle)
    Classifier(bundle)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WrongInput(f"{out} exists already; name a new folder.")
    with _runtime(node_modules) as packages, tempfile.TemporaryDirectory(dir=out.parent) as work:
        made = Path(work) / "page"
        shutil.copytree(_HERE / "page", made)
        _write_runtime(packages, made / "litert")
        _write_model(bundle, made)
        size = _write_list(made)
        if out.exists():
            out.rmdir()
        made.rename(out)
    return size


@contextmanager
def _runtime(node_modules: Path | None) -> Iterator[Path]:
    """Give the folder of the installed packages."""
    if node_modules is not None:
        yield node_modules
        return
    with tempfile.TemporaryDirectory() as work:
        for name in LOCK:
            shutil.copy(_HERE / name, work)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
        try:
            subprocess.run(command, cwd=work, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise WrongInput(
                f"npm is missing. Install it, or run `npm ci` on another machine in a folder with {' and '.join(LOCK)} "
                f"of {_HERE}, and name its node_modules with --node-modules."
            ) from None
        except subprocess.CalledProcessError as error:
            raise WrongInput(f"npm cannot install LiteRT.js: {error.stderr.strip()[-300:]}") from error
        yield Path(work) / "node_modules"


def _write_runtime(packages: Path, folder: Path) -> None:
    folder.mkdir()
    for path, (name, expected) in RUNTIME.items():
        try:
            content = (packages / path).read_bytes()
        except FileNotFoundError:
            raise WrongInput(f"{packages} has no {path}.") from None
        if hashlib.sha256(content).hexdigest() != expected:
            raise WrongInput(f"{packages / path} is not the file of LiteRT.js {_version()}.")
        for before, after in _CHANGES.items() if name.endswith(".js") else ():
            content = content.replace(before, after)
        (folder / name).write_bytes(content)
    shutil.copy(_LICENCE, folder)
    (folder / "NOTICE.txt").write_text(_NOTICE.format(version=_version()), encoding="utf-8")


def _version() -> str:
    package = json.loads((_HERE / LOCK[0]).read_text(encoding="utf-8"))
    return str(package["dependencies"]["@litertjs/core"])


def _write_model(bundle: Bundle, folder: Path) -> None:
    card = bundle.card
    names = [name for name in (bundle.file("litert").name, FILM, GATE, LUNGS) if name in card["files"]]
    for name in names:
        shutil.copyfile(bundle.folder / name, folder / name)
    files = {name: card["files"][name]["sha256"] for name in names}
    distance = open_distance(bundle.folder, card)
    if distance is not None:
        files[DISTANCE] = _write_reference(distance, folder / DISTANCE)
    look, gate, lungs = bundle.second_look, card.get("gate"), card.get(SECTION)
    setup = {
        "name": bundle.name,
        "version": bundle.version,
        "model": bundle.sha256,
        "verified": bundle.verified,
        "side": bundle.side,
        "labels": bundle.labels,
        "temperature": bundle.temperature,
        "second_look": look and {"low": look.low, "high": look.high},
        "gate": gate and {name: gate[name] for name in ("labels", "side", "threshold")},
        "lungs": lungs and {name: lungs[name] for name in ("margin", "least_area")},
        "distance": distance and {"limit": distance.limit},
        "operating_points": {
            name: {"band_low": point.band_low, "band_high": point.band_high}
            for name, point in bundle.operating_points.items()
        },
        "default_operating_point": bundle.default_operating_point,
        "ages": bundle.ages and {"min": bundle.ages.youngest, "max": bundle.ages.oldest},
        "files": files,
        "sentences": _sentences(),
    }
    (folder / "setup.json").write_text(json.dumps(setup, indent=1), encoding="utf-8")


def _write_reference(distance: DistanceMeasure, path: Path) -> str:
    """Write what distances are measured from. Return its SHA-256, in hex."""
    reference = distance.reference
    numbers = {
        "step": reference.step,
        "means": reference.means.tolist(),
        "whitening": reference.whitening.tolist(),
    }
    content = json.dumps(numbers, separators=(",", ":")).encode()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _sentences() -> Mapping[str, str]:
    """Return the sentences of the rejections that this page can give."""
    return {code: sentence for code, sentence in REJECTIONS.items() if not code.startswith("dicom_")}


def _write_list(folder: Path) -> int:
    """Write what the service worker keeps: every file, and a hash over all. Return their size in bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    all_of_it = hashlib.sha256()
    for name, content in contents.items():
        all_of_it.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    listed = json.dumps({"version": all_of_it.hexdigest(), "files": list(contents)}, indent=1)
    listing = f"self.FOLDER = {listed};\n"
    (folder / "files.js").write_text(listing, encoding="utf-8")
    return sum(map(len, contents.values())) + len(listing)
