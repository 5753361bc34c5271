#!/usr/bin/env bash
# Makes the virtual environment and installs the pinned packages of pyproject.toml into it.
#   setup_python.sh PYTHON VENV
set -euo pipefail
python=$1
venv=$2

if [[ ! -x "$venv/bin/python" ]]; then
  "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || {
    echo "recpile needs Python 3.10 to 3.13; $python is $("$python" --version). Say which one with PYTHON=…" >&2
    exit 1
  }
  "$python" -m venv "$venv"
fi

install=("$venv/bin/pip" install --quiet --disable-pip-version-check)
# First, and alone: with torch there, nothing that asks for "some torch" brings another.
"${install[@]}" torch==2.13.0 fbgemm-gpu-cpu==1.8.0
"$venv/bin/python" - <<'PY' | xargs -d '\n' "${install[@]}"
import sys
if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
wanted = project["dependencies"] + [one for extra in ("demo", "onnx", "parquet", "dev") for one in extras[extra]]
print("\n".join(one for one in wanted if not one.startswith("recpile")))
PY
# Last, or pip would complain of it at every other package: its metadata asks for the CUDA build of FBGEMM. What it really
# needs is in pyproject.toml.
"${install[@]}" --no-deps torchrec==1.8.0
