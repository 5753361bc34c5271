#!/usr/bin/env bash
# Runs the C++ tests (ctest) and the Python tests (pytest), both even if the first fails, and ends with one count.
#   test.sh VENV [pytest arguments]
set -uo pipefail
venv=$1
shift
jobs=2
build=$(ls -d build/*/ | head -1)

ctest --test-dir "$build" --output-on-failure --no-tests=error -j"$jobs" | tee "$build/ctest.log"
cpp=$?
# By file: tests of a file share what they export.
"$venv/bin/pytest" -n "$jobs" --dist loadfile "$@" | tee "$build/pytest.log"
python=$?

# "100% tests passed, 0 tests failed out of 42" and "40 passed, 2 failed in 9s"
total=$(sed -n 's/.*tests failed out of \([0-9]*\).*/\1/p' "$build/ctest.log")
failed=$(sed -n 's/.*, \([0-9]*\) tests failed out of.*/\1/p' "$build/ctest.log")
count() { tail -1 "$build/pytest.log" | sed -n "s/.*\b\([0-9]\+\) $1.*/\1/p"; }
passed=$((${total:-0} - ${failed:-0} + $(count passed || true) + 0))
failed=$((${failed:-0} + 0$(count failed) + 0$(count error)))
echo "$passed passed, $failed failed"
[[ $cpp -eq 0 && $python -eq 0 ]]
