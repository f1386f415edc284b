#!/usr/bin/env bash
# All tests: builds presets asan (clang with sanitizers, unit tests and fuzzers) and release, then runs everything with
# one ctest, whose summary is the end of the output; the outputs of failed tests follow it. Exit status 0 only if all of
# it passed.
#   FUZZ_SECONDS=60   how long each fuzzer runs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source apps/build.sh

apps/install_packages.sh test

jobs=$(build_jobs)
fuzz_seconds=${FUZZ_SECONDS:-60}

# build PRESET [CMAKE ARGUMENT...]
build() {
  local preset=$1 start=$SECONDS
  shift
  quietly "build/$preset/configure.log" cmake --preset "$preset" "$@"
  quietly "build/$preset/build.log" cmake --build --preset "$preset" --parallel "$jobs"
  echo "built preset $preset in $((SECONDS - start)) s with $jobs jobs"
}

build asan
# Where there is a CUDA compiler, for every chip that is told apart: warnings and spilled registers are errors.
build release -DVISTAZO_SANITIZED_BUILD="$PWD/build/asan" -DVISTAZO_FUZZ_SECONDS="$fuzz_seconds" \
  -DVISTAZO_CUDA_PORTABLE="80-real;86-real;89-real;90"
grep -ho 'vistazo: .*CUDA.*' build/release/configure.log | head -n 1

# Of what a failed test printed, the end is kept.
results=$PWD/build/release/results.xml
ctest --preset release --parallel "$(nproc)" --output-junit "$results" --test-output-truncation head ||
  { status=$?; tests/show_failures.py "$results"; exit "$status"; }
