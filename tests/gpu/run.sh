#!/usr/bin/env bash
# tests/gpu/run.sh: on a machine with a GPU, the tests of the CUDA kernels, compute-sanitizer on a part of them, and the
# bench of attention beside PyTorch's; a short summary last. Exit status 0 only if the tests and what ran of
# compute-sanitizer passed; 77 where there is no GPU.
#   VISTAZO_GPU_BUILD=FOLDER   programs that build.sh has made; built here otherwise
#   VISTAZO_GPU_OUT=FOLDER     where full logs go; a temporary folder otherwise
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

out=${VISTAZO_GPU_OUT:-$(mktemp -d)}
build=${VISTAZO_GPU_BUILD:-}
if [ -z "$build" ]; then
  build=$out/build
  tests/gpu/build.sh "$build" || exit 1
fi
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true

summary=()
status=0
# step LIMIT_S NAME COMMAND...: runs it with its output in $out/NAME.log, and notes how it went.
step() {
  local limit=$1 name=$2 start=$SECONDS code=0
  shift 2
  timeout -k 2 "$limit" "$@" >"$out/$name.log" 2>&1 || code=$?
  last_code=$code
  summary+=("$(printf '%-10s exit %-3s %3s s' "$name" "$code" "$((SECONDS - start))")")
}

step 25 tests "$build/cuda_tests"
if [ "$last_code" = 77 ]; then
  cat "$out/tests.log"
  exit 77
fi
[ "$last_code" = 0 ] || status=1
grep -v '^$' "$out/tests.log" | head -n 60
if [ "$last_code" != 0 ]; then tail -n 5 "$out/tests.log"; fi

# A tool that finds no usable device says so and is no verdict on the kernels; an error it reports is.
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
subset='attention: packed*,attention: windows*,layer_norm: in place'
for tool in memcheck racecheck; do
  step 15 "$tool" "$sanitizer" --tool "$tool" --error-exitcode 9 "$build/cuda_tests" --test-case="$subset"
  grep -a -m 3 'SUMMARY\|not supported' "$out/$tool.log" || echo "$tool did not run"
  [ "$last_code" != 9 ] || status=1
done

step 12 bench "$build/attention_bench"
[ "$last_code" = 0 ] || status=1
if python3 -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' 2>/dev/null; then
  step 25 sdpa python3 tests/bench/peers/bench_sdpa.py --library "$build/libvistazo_attention.so"
  cat "$out/sdpa.log"
fi
cat "$out/bench.log"
echo
printf '%s\n' "${summary[@]}"
grep -a 'test cases:\|assertions:' "$out/tests.log"
exit "$status"
