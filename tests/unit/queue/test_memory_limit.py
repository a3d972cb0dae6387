"""An image that needs more memory than a scoring process may use is rejected, and the process goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import bombs
from tests.conftest import HANG_S
from worker.config import ROOT, Settings

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys, warnings
from worker.config import Settings
from worker.errors import RejectedImage
from worker.imagefile.limits import Limits
from worker.queue.memory_limit import limit_memory
from worker.screening import open_scorer

warnings.simplefilter("ignore")
limits = Limits(2**26, 10**8, 64)

def scored(path):
    try:
        return scorer.score([scorer.prepare(open(path, "rb").read(), limits)])[0].verdict
    except RejectedImage as rejected:
        return rejected.code

limit_memory(int(sys.argv[1]))
scorer = open_scorer(Settings(runtime=sys.argv[2]))
print(json.dumps([scored(path) for path in sys.argv[3:]]))
"""


def outcomes(limit: int, runtime: str, *paths: Path) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, str(limit), runtime, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    codes: list[str] = json.loads(done.stdout.splitlines()[-1])
    return codes


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory differently")
def test_an_image_that_needs_too_much_memory_is_rejected(tmp_path: Path, phantoms: list[Path]) -> None:
    large = []
    for name, make in bombs.IMAGES.items():
        large.append(tmp_path / name)
        large[-1].write_bytes(make())
    codes = outcomes(256 * 1024**2, "litert", *large, phantoms[0])
    assert codes[:-1] == ["needs_memory"] * len(large)
    assert codes[-1] in {"clear", "uncertain", "flagged"}


@pytest.mark.training
def test_the_largest_image_fits_into_the_memory_limit(tmp_path: Path, phantoms: list[Path]) -> None:
    path = tmp_path / "colour.png"
    path.write_bytes(bombs.IMAGES["a colour PNG"]())
    codes = outcomes(Settings().worker_memory_bytes, "tensorflow", path, phantoms[0])
    assert codes[0] == "blank", "the image was decoded; it is blank"
    assert codes[1] in {"clear", "uncertain", "flagged"}
