"""The training notebook runs from top to bottom on phantoms, and is committed without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from worker.config import ROOT
from worker.inference.bundle import load_bundle
from worker.phantom import write_phantom

NOTEBOOKS = sorted((ROOT / "training").glob("**/*.ipynb"))
NOTEBOOK = ROOT / "training" / "nightread.ipynb"
# For so few images, tracing the graphs would take longest. `test_release` trains with graphs.
WITHOUT_GRAPHS = "import tensorflow as tf\ntf.config.run_functions_eagerly(True)"


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """Write 48 phantoms in Kaggle's folders; those with an opacity show pneumonia."""
    root = tmp_path / "kaggle"
    for folder in ("NORMAL", "PNEUMONIA"):
        (root / "train" / folder).mkdir(parents=True)
    for n in range(16):
        write_phantom(root / "train" / "NORMAL" / f"IM-{n // 2:04}-{n:04}.jpeg", n, width=96, opacity=False)
    for n in range(32):
        name = f"person{n // 2}_{'virus' if n % 4 < 2 else 'bacteria'}_{n}.jpeg"
        write_phantom(root / "train" / "PNEUMONIA" / name, 100 + n, width=96, opacity=True)
    return root


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    for cell in document["cells"]:
        assert "attachments" not in cell
        assert not cell.get("outputs"), "An output may show an X-ray: clear all outputs before you commit."
        assert cell.get("execution_count") is None
    assert "data:image" not in path.read_text(encoding="utf-8")
    nbformat.validate(nbformat.from_dict(document))


# Half a minute of computing, more on a busy machine.
@pytest.mark.timeout(900)
def test_notebook_runs_and_writes_a_bundle(
    kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"DATA": kaggle, "LIMIT": 48, "EPOCHS": 1, "OUT": tmp_path / "out"}
    for name, value in given.items():
        monkeypatch.setenv(f"NOTEBOOK_{name}", str(value))
    # Read nothing from the developer's own Jupyter folders and leave nothing there.
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT_GRAPHS))
    NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(tmp_path)}}).execute()

    bundle = load_bundle(tmp_path / "out" / "bundle", "tensorflow")
    assert bundle.card["preliminary"] is True
    assert bundle.card["training"]["images"] == 48
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 5
    assert any("# notebook 0.0.1" in output.get("data", {}).get("text/markdown", "") for output in shown)
