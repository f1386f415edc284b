# shellcheck shell=bash
# Sourced by the scripts of this project: building with a log that is shown only when something fails.

# quietly LOG COMMAND...: runs the command with its output in LOG; prints the log's end if it fails.
quietly() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1; then
    printf 'failed: %s\n' "$*" >&2
    tail -n 60 "$log" >&2
    printf 'the whole log: %s\n' "$log" >&2
    return 1
  fi
}

# Compilers at once: a core each, and 1.5 GB of memory, which the largest files need.
build_jobs() {
  local cores memory_mb jobs
  cores=$(nproc)
  memory_mb=$(awk '/^MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
  jobs=$((memory_mb / 1500))
  if [ "$jobs" -gt "$cores" ]; then jobs=$cores; fi
  if [ "$jobs" -lt 1 ]; then jobs=1; fi
  echo "$jobs"
}

# Compilers that are often there but not on the PATH: ccache saves a second build, nvcc builds the GPU kernels.
if command -v ccache >/dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CMAKE_CUDA_COMPILER_LAUNCHER=ccache
fi
if ! command -v nvcc >/dev/null && [ -x /usr/local/cuda/bin/nvcc ]; then
  export PATH=$PATH:/usr/local/cuda/bin
fi
