#!/usr/bin/env bash
# tests/check_neon.sh COMPILER: compiles the CPU kernels for 64-bit Arm with a cross compiler, against the headers of this
# machine's Highway and oneDNN. Nothing is linked or run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
object=$(mktemp)
trap 'rm -f "$object"' EXIT
for source in kernels/cpu/*.cpp; do
  echo "$source"
  "$1" -std=c++20 -O0 -Wall -Wextra -I. -Iengine -isystem /usr/include \
    -DHWY_DISABLED_TARGETS='(HWY_SVE|HWY_SVE2|HWY_SVE_256|HWY_SVE2_128|HWY_RVV)' -c "$source" -o "$object"
done
