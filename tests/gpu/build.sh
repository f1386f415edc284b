#!/usr/bin/env bash
# tests/gpu/build.sh FOLDER [NVCC ARGUMENT...]: builds cuda_tests and attention_bench into FOLDER with nvcc alone, for
# machines without the other dependencies. Needs the headers of doctest and fmt. The programs need no library but libc.
#   VISTAZO_CUDA_ARCH=90   the architecture; the portable kernels run from 80 on
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

architecture=${VISTAZO_CUDA_ARCH:-90}
common=(-std=c++20 -O3 -DFMT_HEADER_ONLY -I. -Iengine)
kernels=(kernels/cuda/attention/{attention,f32,sm80}.cu kernels/cuda/gemm/{gemm,simt,sm80}.cu
  kernels/cuda/{convolution,direct_convolution,layer_norm,linear}.cu)
objects=()
for source in "${kernels[@]}"; do
  objects+=("$out/${source//\//_}.o")
  nvcc "${common[@]}" -arch="sm_$architecture" "$@" -c "$source" -o "${objects[-1]}"
done
include=$(dirname "$(command -v nvcc)")/../include
for source in tests/cuda/*.cpp tests/gpu/attention_bench.cpp; do
  "${CXX:-c++}" "${common[@]}" -isystem "$include" -c "$source" -o "$out/$(basename "$source").o"
done
link=(nvcc -arch="sm_$architecture" -cudart static -Xcompiler=-static-libstdc++ -Xcompiler=-static-libgcc
  "${objects[@]}")
"${link[@]}" "$out"/{main,attention_test,convolution_test,layer_norm_test,linear_test}.cpp.o -o "$out/cuda_tests"
"${link[@]}" "$out/attention_bench.cpp.o" -o "$out/attention_bench"
rm "$out"/*.o
