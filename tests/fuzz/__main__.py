"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET [LIBFUZZER_OPTION...] [FOLDER...]`.

Python code is instrumented, including Pillow and pydicom. C code (libjpeg, zlib, OpenJPEG) is not, so the fuzzer reaches new paths
there only by chance.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["worker", "PIL", "pydicom"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz one target until libFuzzer's time is over or an input makes the target fail."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
