"""A training with splits, as `nightread train` runs it, without graphs.

`python -m tests.unit.training.splits.splits_training RECIPE IMAGES BUNDLE OUT` takes the lung network of the bundle.
"""

from __future__ import annotations

import sys

from tests.unit.training.eager import eagerly
from training import cli

if __name__ == "__main__":
    recipe, images, bundle, out = sys.argv[1:]
    arguments = ["--recipe", recipe, "--data", images, "--lungs", bundle, "--out", out, "--epochs", "2"]
    with eagerly():
        cli.train.main(arguments)
