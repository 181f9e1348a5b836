#!/bin/sh
# Remakes the hashed lock files from pyproject.toml. Needs uv. One file per kind of installation, so that
# a box without cameras never downloads OpenCV.
set -eu
cd "$(dirname "$0")/.."
lock() {
    out=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-annotate --custom-compile-command "packaging/lock.sh" "$@" pyproject.toml -o "requirements/$out.txt" --upgrade
}
lock core requirements/build.in
lock run --extra demo --extra web --extra field requirements/build.in
lock dev --extra demo --extra web --extra field --extra knx --extra platform --extra dev requirements/build.in
lock all --extra all requirements/build.in
