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
objects=()
for source in "${kernels[@]}"; do
  objects+=("$out/${source//\//_}.o")
  nvcc "${common[@]}" -Xcompiler="$shared" -arch="sm_$architecture" "$@" -c "$source" -o "${objects[-1]}"
done
for source in "${hopper[@]}"; do
  objects+=("$out/${source//\//_}.o")
  nvcc "${common[@]}" -Xcompiler="$shared" -gencode arch=compute_90a,code=sm_90a "$@" -c "$source" -o "${objects[-1]}"
done
include=$(dirname "$(command -v nvcc)")/../include
for source in "${host[@]}"; do
  objects+=("$out/${source//\//_}.o")
  "${CXX:-c++}" "${common[@]}" "$shared" -isystem "$include" -c "$source" -o "${objects[-1]}"
done
for source in tests/cuda/*.cpp tests/gpu/*.cpp; do
  "${CXX:-c++}" "${common[@]}" "$shared" -isystem "$include" -c "$source" -o "$out/$(basename "$source").o"
done
link=(nvcc -arch="sm_$architecture" -cudart static -Xcompiler=-static-libstdc++ -Xcompiler=-static-libgcc
  "${objects[@]}")
"${link[@]}" "$out"/{main,*_test}.cpp.o -o "$out/cuda_tests"
for bench in attention_bench small_kernels_bench; do
  "${link[@]}" "$out/$bench.cpp.o" -o "$out/$bench"
done
for library in attention convolution; do
  "${link[@]}" -shared "$out/${library}_library.cpp.o" -o "$out/libvistazo_$library.so"
done
# Beside cuBLASLt, where the toolkit has it.
"${link[@]}" "$out/gemm_bench.cpp.o" -lcublasLt -o "$out/gemm_bench" || echo "no gemm_bench: no cuBLASLt"
rm "$out"/*.o
