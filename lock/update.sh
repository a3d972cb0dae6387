#!/usr/bin/env bash
# Write lock/*.txt from pyproject.toml: one version of each package, with hashes, for every platform and every Python
# from 3.11 on. Versions that still fit stay as they are. Arguments go to uv: `lock/update.sh --upgrade` for the newest
# versions, `lock/update.sh --upgrade-package flask` for one. Needs uv.
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url
         --no-annotate --no-header --quiet pyproject.toml)
"${compile[@]}" --extra postgres --extra dicom --group build --output-file lock/serve.txt "$@"
"${compile[@]}" --extra postgres --extra dicom --group build --group fast --constraint lock/serve.txt --output-file lock/fast.txt "$@"
"${compile[@]}" --extra postgres --extra dicom --extra train --extra tensorflow --group build --group test --group check \
    --constraint lock/fast.txt --output-file lock/develop.txt "$@"
"${compile[@]}" --extra postgres --extra dicom --group build --group mutants --constraint lock/develop.txt \
    --output-file lock/mutants.txt "$@"
