#!/usr/bin/env bash
# Builds the fuzzers with clang, ASan and UBSan, and runs each for a while. What it finds goes to build/fuzz/found/;
# a corpus that grows is kept in build/fuzz/corpus/, beside the small one of tests/fuzz/corpus/.
#   fuzz.sh VENV JOBS SECONDS
set -euo pipefail
venv=$PWD/$1
jobs=$2
seconds=$3
build=build/fuzz

scripts/setup_system.sh clang-14 libclang-rt-14-dev
mkdir -p "$build/found"
cmake -S . -B "$build" -G Ninja -DPython_EXECUTABLE="$venv/bin/python" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_CXX_COMPILER=clang++-14 -DRECPILE_SANITIZE=address,undefined -DRECPILE_FUZZERS=ON -DRECPILE_PYTHON=OFF \
  -DRECPILE_HTTP=OFF >"$build/cmake.log" 2>&1 || { cat "$build/cmake.log"; exit 1; }
cmake --build "$build" --target recpile_fuzzers -j "$jobs"

for fuzzer in artifact request kserve; do
  echo "fuzzing: $fuzzer, $seconds s"
  mkdir -p "$build/corpus/$fuzzer"
  # An allocation of more than a gigabyte, or an input that takes ten seconds, is a finding too.
  "$build/tests/fuzz/${fuzzer}_fuzzer" -max_total_time="$seconds" -malloc_limit_mb=1024 -timeout=10 -max_len=16384 \
    -artifact_prefix="$build/found/" -print_final_stats=1 -verbosity=0 "$build/corpus/$fuzzer" \
    "tests/fuzz/corpus/$fuzzer"
done
