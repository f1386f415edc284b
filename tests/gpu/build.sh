#!/usr/bin/env bash
# tests/gpu/build.sh FOLDER [NVCC ARGUMENT...]: builds cuda_tests and the benches into FOLDER with nvcc alone, for
# machines without the other dependencies. Needs the headers of doctest and fmt. The programs need no library but libc.
#   VISTAZO_CUDA_ARCH=90   the architecture; the portable kernels run from 80 on
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

architecture=${VISTAZO_CUDA_ARCH:-90}
common=(-std=c++20 -O3 -DFMT_HEADER_ONLY -I. -Iengine)
shared=-fPIC # for the library that Python loads
shopt -s globstar extglob
kernels=(kernels/cuda/**/!(sm90*).cu)
hopper=(kernels/cuda/**/sm90*.cu) # instructions that compute capability 9.0 alone has
host=(kernels/cuda/**/*.cpp)
include=$(dirname "$(command -v nvcc)")/../include

# compile SOURCE COMPILER...: at most a job for each core runs; the first that fails ends the script.
objects=() jobs=()
compile() {
  local source=$1
  shift
  if [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; then wait -n; fi
  "$@" -c "$source" -o "$out/${source//\//_}.o" &
  jobs+=($!)
}
for source in "${hopper[@]}"; do
  compile "$source" nvcc "${common[@]}" -Xcompiler="$shared" -gencode arch=compute_90a,code=sm_90a "$@"
done
for source in "${kernels[@]}"; do
  compile "$source" nvcc "${common[@]}" -Xcompiler="$shared" -arch="sm_$architecture" "$@"
done
for source in "${host[@]}" tests/cuda/*.cpp tests/gpu/*.cpp; do
  compile "$source" "${CXX:-c++}" "${common[@]}" "$shared" -isystem "$include"
done
for job in "${jobs[@]}"; do wait "$job"; done
for source in "${kernels[@]}" "${hopper[@]}" "${host[@]}"; do objects+=("$out/${source//\//_}.o"); done

link=(nvcc -arch="sm_$architecture" -cudart static -Xcompiler=-static-libstdc++ -Xcompiler=-static-libgcc
  "${objects[@]}")
"${link[@]}" "$out"/tests_cuda_*.cpp.o -o "$out/cuda_tests"
for bench in attention_bench small_kernels_bench; do
  "${link[@]}" "$out/tests_gpu_$bench.cpp.o" -o "$out/$bench"
done
for library in attention convolution; do
  "${link[@]}" -shared "$out/tests_gpu_${library}_library.cpp.o" -o "$out/libvistazo_$library.so"
done
# Beside cuBLASLt, where the toolkit has it.
"${link[@]}" "$out/tests_gpu_gemm_bench.cpp.o" -lcublasLt -o "$out/gemm_bench" || echo "no gemm_bench: no cuBLASLt"
rm "$out"/*.o
