#!/usr/bin/env bash
# Renews the lists of exact versions with hashes that everything is installed from: `make lock`. They hold for every
# system and every Python from 3.11 on. torch is not in them: it comes first and alone, as the build for the CPU or for
# CUDA that is wanted (client/install.sh, worker/Dockerfile), and what it requires is named in pyproject.toml's `worker`.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$1
without_torch=$(mktemp)
trap 'rm -f "$without_torch"' EXIT
echo torch >"$without_torch"

# lock file extra...: the same versions as in the lists written before
seen=()
lock() {
    local file=$1 extra arguments=()
    for extra in "${@:2}"; do arguments+=(--extra "$extra"); done
    for extra in "${seen[@]+"${seen[@]}"}"; do arguments+=(--constraints "$extra"); done
    "$uv" pip compile pyproject.toml "${arguments[@]}" --universal --python-version 3.11 --generate-hashes --upgrade --quiet \
        --excludes "$without_torch" --no-annotate --no-header --no-emit-index-url --output-file "$file"
    seen+=("$file")
    echo "$file: $(grep -cE '^[a-z0-9]' "$file") libraries"
}

lock client/requirements-dev.txt api worker client embedded mcp s3 dev
lock client/requirements-run.txt api worker client
# apart, because there are machines without a wheel of it
lock client/requirements-embedded.txt embedded
lock api/requirements.txt api s3
lock worker/requirements.txt worker s3
