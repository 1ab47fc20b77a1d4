#!/bin/sh
# Makes .venv from requirements.lock (versions and digests fixed) and puts the project into it, editable.
# Takes the first Python that is new enough and whole; PYTHON=… chooses another. Fetches nothing that is not in the lock.
set -eu
cd "$(dirname "$0")/.."
stamp=.venv/locked
lock=$(cksum < requirements.lock)

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
whole='import ensurepip, venv'

fail() {
    echo "setup: $1" >&2
    exit 1
}

choose_python() {
    older='' partial=''
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 /usr/bin/python3}; do
        "$candidate" -c '' 2>/dev/null || continue
        if ! "$candidate" -c "$new_enough" 2>/dev/null; then
            older="$older $candidate ($("$candidate" -V 2>&1))"
        elif ! "$candidate" -c "$whole" 2>/dev/null; then
            partial=$candidate
        else
            echo "$candidate"
            return
        fi
    done
    if [ -n "$partial" ]; then
        fail "$partial lacks the venv module. On Debian and Ubuntu: apt-get install python3-venv"
    elif [ -n "$older" ]; then
        fail "Python 3.11 or newer is needed; found only$older. Set PYTHON to a newer one."
    fi
    fail "Python 3.11 or newer is needed and none was found${PYTHON:+ (PYTHON is $PYTHON)}."
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$lock" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

python=$(choose_python)
echo "setup: .venv from requirements.lock, with $("$python" -V 2>&1)"
rm -f "$stamp"
if [ "$(.venv/bin/python -V 2>&1)" != "$("$python" -V 2>&1)" ] || ! .venv/bin/python -m pip -V >/dev/null 2>&1; then
    "$python" -m venv --clear .venv
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
pip install --quiet --require-hashes --requirement requirements.lock
pip install --quiet --no-build-isolation --no-deps --editable .
echo "$lock" > "$stamp"
