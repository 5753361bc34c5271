#!/usr/bin/env bash
# Builds the tests that need no torch with AddressSanitizer and UBSan, and with ThreadSanitizer, and runs them.
#   sanitize.sh VENV JOBS
set -euo pipefail
venv=$PWD/$1
jobs=$2

# A leak, a race or undefined behaviour ends a test.
export ASAN_OPTIONS=detect_stack_use_after_return=1
export TSAN_OPTIONS=halt_on_error=1
mkdir -p build
for sanitizers in address,undefined thread; do
  build=build/sanitize-${sanitizers%%,*}
  cmake -S . -B "$build" -G Ninja -DPython_EXECUTABLE="$venv/bin/python" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DRECPILE_SANITIZE="$sanitizers" -DRECPILE_TESTS=ON -DRECPILE_PYTHON=OFF -DRECPILE_GRPC=OFF >"$build.log" 2>&1 ||
    { cat "$build.log"; exit 1; }
  cmake --build "$build" --target tests/cpp/all -j "$jobs"
  ctest --test-dir "$build" --output-on-failure --no-tests=error -j2
done
