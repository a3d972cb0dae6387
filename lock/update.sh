#!/usr/bin/env bash
# Resolve pyproject.toml anew into lock/*.txt, for every platform and Python >= 3.11 (needs uv).
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url
         --no-annotate --no-header --quiet pyproject.toml)
"${compile[@]}" --extra postgres --group build --output-file lock/serve.txt "$@"
"${compile[@]}" --extra postgres --extra train --extra tensorflow --group build --group test --group check \
    --constraint lock/serve.txt --output-file lock/develop.txt "$@"
