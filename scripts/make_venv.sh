#!/bin/sh
# Makes the virtual environment: sh scripts/make_venv.sh FOLDER
# Takes $PYTHON when it is set, else the first Python on the path that is 3.11 or newer.
set -eu
folder=$1

recent='import sys; sys.exit(sys.version_info < (3, 11))'
describe='import sys; print("Python", ".".join(map(str, sys.version_info[:3])), "at", sys.executable)'

if "$folder/bin/python" -c "$recent" 2>/dev/null && "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi

found=
for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14 python}; do
    # Run it: a name on the path may be a shim with nothing behind it.
    if "$candidate" -c "$recent" 2>/dev/null; then
        found=$candidate
        break
    fi
done

if [ -z "$found" ]; then
    echo "compress_explorer needs Python 3.11 or newer." >&2
    for candidate in ${PYTHON:-python3 python}; do
        "$candidate" -c "$describe" 2>/dev/null | sed 's/^/Found only: /' >&2 || true
    done
    echo "Install one, or name it: make lab PYTHON=/path/to/python3.12" >&2
    exit 1
fi

"$found" -c "$describe"
if ! message=$("$found" -m venv --clear "$folder" 2>&1); then
    rm -rf "$folder"
    echo "This Python cannot make a virtual environment:" >&2
    echo "$message" >&2
    echo "On Debian and Ubuntu its parts are separate: apt-get install python3-venv (as root)," >&2
    echo "or name another Python: make lab PYTHON=/path/to/python3.12" >&2
    exit 1
fi
