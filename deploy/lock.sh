#!/usr/bin/env bash
# Writes requirements.lock (every version, pip's constraints for make) and the locks that images are installed from
# (the same versions, with the hash of each of their files). Versions stay where they still fit; --upgrade takes the newest.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# What one machine adds to its index must not decide what everybody gets.
unset PIP_FIND_LINKS PIP_CONSTRAINT
export PIP_CONFIG_FILE=/dev/null

"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
cp requirements.lock "$folder"

resolve() { # a processor (glibc is the image's), then what uv is to resolve; prints the lock
  "$folder/venv/bin/uv" pip compile --quiet --no-config --python-version 3.11 --python-platform "$1-manylinux_2_36" \
    --no-annotate --custom-compile-command "make lock" "${@:2}"
}

hashed() { # a lock's name, then what it is of
  resolve x86_64 --generate-hashes -c "$folder/requirements.lock" "${@:2}" >"$folder/$1.lock"
  # One lock does for both processors only if they need the same packages.
  resolve aarch64 --generate-hashes -c "$folder/requirements.lock" "${@:2}" | cmp - "$folder/$1.lock"
}

resolve x86_64 "$@" --all-extras pyproject.toml -o "$folder/requirements.lock" >/dev/null
hashed serving --extra serve --extra tracing pyproject.toml
hashed training --extra serve --extra tracing --extra train pyproject.toml
"$folder/venv/bin/python" - >"$folder/build.in" <<'PYTHON'
import tomllib

with open("pyproject.toml", "rb") as project:
    print(*tomllib.load(project)["build-system"]["requires"], sep="\n")
PYTHON
hashed build "$folder/build.in"

mv "$folder/requirements.lock" .
mv "$folder"/*.lock deploy/
