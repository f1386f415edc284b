#!/usr/bin/env bash
# tests/gpu/run.sh: everything that needs a GPU, on a machine with one: the tests of the CUDA kernels and of whole models,
# compute-sanitizer on a part of them, average precision by precision, and benches beside PyTorch; a short summary last.
# Exit status 0 only if what ran passed; 77 where there is no GPU. A step whose program or data is not there is left out.
#   VISTAZO_GPU_BUILD=FOLDER   cuda_tests and benches that build.sh has made (built here otherwise); device_tests and
#                              vistazo of a build with VISTAZO_CUDA=ON, libraries they need in FOLDER/lib
#   VISTAZO_GPU_OUT=FOLDER     where full logs go; a temporary folder otherwise
#   VISTAZO_GOLDEN=FOLDER      reference outputs of larger models
#   VISTAZO_CELLS=FOLDER       data/cells: images/*.ppm and instances_val.json that names them so
#   VISTAZO_VIDEO=FILE         1920 x 1080 of H.264, .mp4 or .h264; made by ffmpeg where it is on the PATH
#   VISTAZO_SOAK=N             passes of the test that looks for leaks; 10000 here unless set
#   VISTAZO_STEPS="..."        which steps: tests device sanitizer eval bench video peers; all unless set
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

out=${VISTAZO_GPU_OUT:-$(mktemp -d)}
build=${VISTAZO_GPU_BUILD:-}
steps=${VISTAZO_STEPS:-tests device sanitizer eval bench video peers}
if [ -z "$build" ]; then
  build=$out/build
  tests/gpu/build.sh "$build" || exit 1
fi
export LD_LIBRARY_PATH=$build/lib:${LD_LIBRARY_PATH:-} VISTAZO_SOAK=${VISTAZO_SOAK:-10000}
export VISTAZO_TEST_DATA=$PWD/tests/data VISTAZO_WEIGHTS=$PWD/weights
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true

summary=()
status=0
# step LIMIT_S NAME COMMAND...: runs it with its output in $out/NAME.log, and notes how it went.
step() {
  local limit=$1 name=$2 start=$SECONDS code=0
  shift 2
  timeout -k 2 "$limit" "$@" >"$out/$name.log" 2>&1 || code=$?
  last_code=$code
  summary+=("$(printf '%-12s exit %-3s %3s s' "$name" "$code" "$((SECONDS - start))")")
}
# wants STEP [FILE...]: whether it was asked for and what it needs is there.
wants() {
  [[ " $steps " == *" $1 "* ]] || return 1
  local file
  for file in "${@:2}"; do [ -e "$file" ] || return 1; done
}
require_success() { [ "$last_code" = 0 ] || status=1; }
# A program without a GPU says so with 77.
stop_without_gpu() {
  if [ "$last_code" = 77 ]; then
    cat "$out/$1.log"
    exit 77
  fi
}

if wants tests "$build/cuda_tests"; then
  step 120 tests tests/gpu/in_parts.sh "$build/cuda_tests" "$(nproc)"
  stop_without_gpu tests
  require_success
  grep -v '^$\|doctest' "$out/tests.log" | head -n 40
fi
if wants device "$build/device_tests"; then
  step 90 device "$build/device_tests"
  stop_without_gpu device
  require_success
  grep 'ERROR\|passes;\|relative error' "$out/device.log" | sed 's/.*MESSAGE: //' | head -n 40
fi

# A tool that finds no usable device says so and is no verdict on the kernels; an error it reports is.
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
subset='attention: packed*,attention: windows*,layer_norm: in place'
for tool in memcheck racecheck; do
  if wants sanitizer "$build/cuda_tests"; then
    step 180 "$tool" "$sanitizer" --tool "$tool" --error-exitcode 9 "$build/cuda_tests" --test-case="$subset"
    grep -a -m 3 'SUMMARY\|not supported' "$out/$tool.log" || echo "$tool: no verdict, exit status $last_code"
    [ "$last_code" != 9 ] || status=1
  fi
  if wants sanitizer "$build/device_tests"; then
    VISTAZO_SOAK=3 step 60 "$tool-model" "$sanitizer" --tool "$tool" --error-exitcode 9 "$build/device_tests" \
      --test-case='device: passes leave nothing behind'
    grep -a -m 3 'SUMMARY\|not supported' "$out/$tool-model.log" || echo "$tool: no verdict, exit status $last_code"
    [ "$last_code" != 9 ] || status=1
  fi
done

# Average precision must not depend on the precision: within 0.003 of each other.
if wants eval "$build/vistazo" "${VISTAZO_CELLS:-/nowhere}"; then
  for precision in f32 bf16 f16; do
    step 60 "eval-$precision" "$build/vistazo" eval --model weights/cells --device cuda --precision "$precision" \
      --images "$VISTAZO_CELLS/images" --annotations "$VISTAZO_CELLS/instances_val.json" --json "$out/eval-$precision.json"
    require_success
  done
  step 10 eval python3 -c 'import json, sys
values = [json.load(open(path))["AP"] for path in sys.argv[1:]]
print("AP in f32, bf16, f16:", *(f"{value:.4f}" for value in values))
sys.exit(max(values) - min(values) > 0.003)' "$out"/eval-{f32,bf16,f16}.json
  require_success
  cat "$out/eval.log"
fi

for bench in attention_bench small_kernels_bench; do
  if wants bench "$build/$bench"; then
    step 30 "$bench" "$build/$bench"
    require_success
    cat "$out/$bench.log"
  fi
done
if wants bench "$build/attention_bench"; then
  step 60 choices "$build/attention_bench" --choices
  require_success
  cat "$out/choices.log"
fi
if wants bench "$build/vistazo"; then
  step 30 vistazo "$build/vistazo" bench --model weights/cells --device cuda --batch 1,16 --seconds 0.5 --stages 480x640
  require_success
  cat "$out/vistazo.log"
fi
# Frames a second from a file, RF-DETR-N: NVDEC, decoding on the CPU and a plain loop, of 1 and 4 sources.
video=${VISTAZO_VIDEO:-$out/video.h264}
if wants video "$build/video_pipeline_bench"; then
  if [ ! -e "$video" ] && command -v ffmpeg >/dev/null; then
    ffmpeg -loglevel error -y -f lavfi -i testsrc2=size=1920x1080:rate=30 -frames:v 300 -c:v libx264 -preset veryfast \
      -pix_fmt yuv420p "$video"
  fi
  if [ -e "$video" ]; then
    step 150 video "$build/video_pipeline_bench" "$video" tests/bench/rf_detr_nano.json --device cuda --no-save --rounds 2
    require_success
    cat "$out/video.log"
  fi
fi
if python3 -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' 2>/dev/null; then
  if wants peers; then
    step 60 sdpa python3 tests/bench/peers/bench_sdpa.py --library "$build/libvistazo_attention.so" --paired
    cat "$out/sdpa.log"
  fi
  if wants peers "$build/vistazo"; then
    step 300 rf_detr python3 tests/bench/peers/bench_gpu.py --vistazo "$build/vistazo"
    require_success
    cat "$out/rf_detr.log"
  fi
fi
echo
printf '%s\n' "${summary[@]}"
grep -ah '^\[all parts\]' "$out/tests.log" 2>/dev/null
grep -ah 'test cases:\|assertions:' "$out/device.log" 2>/dev/null
exit "$status"
