"""All checks of an image's content, in one place for screening and evaluation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.inference.film import check_margins
from worker.inference.gate import Gate
from worker.inference.preprocess import checked_grey, normalise


def admit(data: bytes, side: int, gate: Gate) -> NDArray[np.uint8]:
    """Return the model input of a file that may be scored, shape (side, side).

    The result is that of `to_model_input`.

    Raises:
        RejectedImage: the file cannot be decoded, shows nothing, shows a film on a page, or is no frontal chest.
    """
    grey = checked_grey(data, side)
    check_margins(grey)
    return gate.check(normalise(grey))
