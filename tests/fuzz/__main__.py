"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET [libFuzzer's options] [FOLDER...]`.

Python code is instrumented, that of the decoding library too; its C code (libjpeg, zlib) is not, so that
what is new in there is found by chance alone.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["worker", "PIL"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz one target until libFuzzer's budget is spent, or an input is a finding."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
