#!/usr/bin/env bash
# Builds the command line in build/quickstart and detects cells in the sample images of the shipped model: a table here,
# annotated pictures in out/quickstart. A second run builds nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source apps/build.sh

apps/install_packages.sh build

build=build/quickstart
jobs=$(build_jobs)
[ -x $build/vistazo ] || echo "Building vistazo in $build with $jobs jobs; this takes a few minutes once."
quietly $build/configure.log cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DVISTAZO_TESTS=OFF
quietly $build/build.log cmake --build $build --parallel "$jobs"
grep -ho 'vistazo: .*CUDA.*' $build/configure.log | head -n 1

mkdir -p out/quickstart
$build/vistazo detect --model weights/cells --save out/quickstart weights/cells/samples
echo "Annotated pictures: out/quickstart"
