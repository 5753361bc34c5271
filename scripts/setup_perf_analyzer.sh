#!/usr/bin/env bash
# Puts perf_analyzer, NVIDIA's load generator for KServe v2 servers, into the virtual environment, for the tests that it
# works with recpile-server unchanged. Not a dependency of pyproject.toml: its package is built for glibc 2.38 and newer,
# and pip knows no condition for that. Elsewhere the last one that came with tritonclient does, with the two libraries it
# is linked to.
#   setup_perf_analyzer.sh VENV
set -euo pipefail
venv=$1
if [[ -x "$venv/bin/perf_analyzer" ]]; then exit 0; fi

pip=("$venv/bin/pip" --quiet --disable-pip-version-check)
if "${pip[@]}" install perf-analyzer==2.60.0 2>/dev/null; then exit 0; fi

"$(dirname "$0")/setup_system.sh" libb64-0d
home="$venv/perf_analyzer"
mkdir -p "$home"
"${pip[@]}" download --no-deps --only-binary=:all: --platform manylinux1_x86_64 --dest "$home" tritonclient==2.44.0
"${pip[@]}" install --no-deps --target "$home/cuda" nvidia-cuda-runtime-cu12==12.9.79
"$venv/bin/python" - "$home" <<'PY'
import sys, zipfile
from pathlib import Path

home = Path(sys.argv[1])
(wheel,) = home.glob("tritonclient-*.whl")
with zipfile.ZipFile(wheel) as files:
    (name,) = [one for one in files.namelist() if one.endswith("/bin/perf_analyzer")]
    (home / "perf_analyzer").write_bytes(files.read(name))
(home / "perf_analyzer").chmod(0o755)
wheel.unlink()
PY
cat > "$venv/bin/perf_analyzer" <<'END'
#!/bin/sh
here=$(cd "$(dirname "$0")/../perf_analyzer" && pwd)
LD_LIBRARY_PATH="$here/cuda/nvidia/cuda_runtime/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/perf_analyzer" "$@"
END
chmod +x "$venv/bin/perf_analyzer"
"$venv/bin/perf_analyzer" --version
