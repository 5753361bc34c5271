#!/usr/bin/env bash
# Builds the tests that need no torch with a sanitizer, and runs them. gRPC, protobuf and abseil are the system's, built
# without; what that means to ThreadSanitizer is said in tests/cpp/server/uninstrumented_libraries.cc.
#   sanitize.sh VENV JOBS address,undefined|thread
set -euo pipefail
venv=$PWD/$1
jobs=$2
sanitizers=$3

# Little optimized, for that halves the build; asserts are on.
# A leak, a race or undefined behaviour ends a test.
export ASAN_OPTIONS=detect_stack_use_after_return=1
export TSAN_OPTIONS=halt_on_error=1
build=build/sanitize-${sanitizers%%,*}
mkdir -p build
cmake -S . -B "$build" -G Ninja -DPython_EXECUTABLE="$venv/bin/python" -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DRECPILE_SANITIZE="$sanitizers" -DRECPILE_TESTS=ON -DRECPILE_PYTHON=OFF \
  -DRECPILE_GRPC=ON >"$build.log" 2>&1 ||
  { cat "$build.log"; exit 1; }
cmake --build "$build" --target tests/cpp/all -j "$jobs"
ctest --test-dir "$build" --output-on-failure --no-tests=error -j2
