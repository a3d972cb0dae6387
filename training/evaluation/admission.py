"""The worker's checks of a bundle, for files that are measured one by one."""

from __future__ import annotations

from worker.inference.admission import Admitted, admit
from worker.inference.bundle import Bundle
from worker.inference.gate import Gate, open_gate
from worker.inference.preprocess import Picture


class Admission:
    """The preprocessing of a bundle with its gate. Not for use by two threads at the same time."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the gate. Raises ModelUnusable."""
        self._bundle = bundle
        self._gate: Gate = open_gate(bundle.folder, bundle.card)

    def admit(self, picture: Picture) -> Admitted:
        """Return the model input of a picture that may be scored. Raises RejectedImage."""
        return admit(picture, self._bundle.side, self._gate, self._bundle.preprocessing_version)
