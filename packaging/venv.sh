#!/bin/sh
# Makes or refreshes .venv from one lock file: packaging/venv.sh run|dev|core|all
# Needs nothing but Python >= 3.11 and a package index. Debian's python3 without python3-venv is served through
# its pip (apt install python3-pip); with neither there is nothing to install with, and we say so.
set -eu
cd "$(dirname "$0")/.."
set_name=$1
python=${PYTHON:-python3}
lock=requirements/$set_name.txt

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; '$python' is $("$python" --version 2>&1). Set PYTHON=/path/to/python3.11" >&2
    exit 2
}
# The stamp names everything the environment was made from; the same answer means there is nothing to do.
want="$set_name $(cat "$lock" pyproject.toml | cksum) $(pwd)"
if [ -x .venv/bin/gateway ] && grep -qsxF "$want" .venv/installed; then exit 0; fi

if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv >/dev/null 2>&1 || { rm -rf .venv; "$python" -m venv --without-pip .venv; }
fi
if .venv/bin/python -m pip --version >/dev/null 2>&1; then
    pip() { .venv/bin/python -m pip "$@"; }
elif "$python" -m pip --version >/dev/null 2>&1; then
    pip() { "$python" -m pip --python .venv/bin/python "$@"; }
else
    echo "Neither venv nor pip is available for '$python'. On Debian or Ubuntu: apt install python3-venv" >&2
    exit 2
fi
echo "installing ($lock) into .venv ..." >&2
quiet="--quiet --disable-pip-version-check --no-input"
pip install $quiet --require-hashes -r "$lock"
pip install $quiet --no-deps --no-build-isolation -e .
printf '%s\n' "$want" >>.venv/installed
