#!/usr/bin/env bash
# Builds the fuzzers with clang, ASan and UBSan, and runs each for a while, as many at once as JOBS. What they find goes
# to build/fuzz/found/; a corpus that grows is kept in build/fuzz/corpus/, beside the small one of tests/fuzz/corpus/.
#   fuzz.sh VENV JOBS SECONDS
set -euo pipefail
venv=$PWD/$1
jobs=$2
export seconds=$3
export build=build/fuzz

scripts/setup_system.sh clang-14 libclang-rt-14-dev
mkdir -p "$build/found"
cmake -S . -B "$build" -G Ninja -DPython_EXECUTABLE="$venv/bin/python" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_CXX_COMPILER=clang++-14 -DRECPILE_SANITIZE=address,undefined -DRECPILE_FUZZERS=ON -DRECPILE_PYTHON=OFF \
  -DRECPILE_HTTP=OFF >"$build/cmake.log" 2>&1 || { cat "$build/cmake.log"; exit 1; }
cmake --build "$build" --target recpile_fuzzers -j "$jobs"

# A line on how it went, or, of a finding, all that was said. "cov" is how many places of the code inputs have reached: at
# first those of the corpus.
fuzz() {
  local name=$1 log=$build/$1.log dictionary=()
  [[ ! -e tests/fuzz/dictionaries/$1 ]] || dictionary=("-dict=tests/fuzz/dictionaries/$1")
  mkdir -p "$build/corpus/$name"
  # An allocation of more than a gigabyte, or an input that takes ten seconds, is a finding too.
  "$build/tests/fuzz/${name}_fuzzer" -max_total_time="$seconds" -malloc_limit_mb=1024 -timeout=10 -max_len=16384 \
    "${dictionary[@]}" -artifact_prefix="$build/found/" \
    -print_final_stats=1 "$build/corpus/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1 || { cat "$log"; return 1; }
  echo "$name: $(sed -n 's/^#.*INITED cov: \([0-9]*\).*/cov \1/p' "$log") to" \
    "$(sed -n 's/^#.*DONE *cov: \([0-9]*\).*/\1/p' "$log") in $(sed -n 's/^stat::number_of_executed_units: //p' "$log") runs"
}
export -f fuzz
echo "fuzzing, $seconds s each"
printf '%s\n' artifact config grpc http kserve request | xargs -P "$jobs" -I{} bash -euc 'fuzz {}'
