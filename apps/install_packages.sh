#!/usr/bin/env bash
# apps/install_packages.sh build|test: installs the Debian packages that are missing for a build, or for a build and all
# tests. Names are those of Debian 12. Says what it installs; silent if nothing is missing.
set -euo pipefail

build=(cmake ninja-build g++ pkg-config
  libdnnl-dev ocl-icd-opencl-dev opencl-c-headers  # oneDNN's CMake package asks for OpenCL's library and headers
  libhwy-dev libfmt-dev libspdlog-dev nlohmann-json3-dev zlib1g-dev
  libcli11-dev libopencv-dev                       # the command line
  libavformat-dev libavdevice-dev libswscale-dev   # its videos, cameras and streams
  libffmpeg-nvenc-dev                              # NVIDIA's headers for videos decoded on a GPU
  libtiff-dev libopenslide-dev)                    # scans that are read part by part
test=(doctest-dev libbenchmark-dev python3 ffmpeg
  libjpeg-dev                                      # slides that tests write
  python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good  # an RTSP server for the tests of streams
  g++-aarch64-linux-gnu                            # the kernels compile for NEON too
  libboost-context-dev                             # fibers that are the threads of CUDA kernels, without a GPU
  clang libclang-rt-14-dev libomp-dev)             # sanitizers and fuzzers; OpenMP under clang

case "${1:-}" in
  build) packages=("${build[@]}") ;;
  test) packages=("${build[@]}" "${test[@]}") ;;
  *) echo "usage: $0 build|test" >&2; exit 2 ;;
esac

if ! command -v apt-get >/dev/null; then
  echo "No apt-get here. The equivalents of these Debian packages are needed: ${packages[*]}" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "As root, run: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi

echo "Installing Debian packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" \
    >"$log" 2>&1 </dev/null
}
# The lists of packages are fetched only if they are absent or too old to install from.
if ! install; then
  "${as_root[@]}" apt-get update >"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
  install || { tail -n 20 "$log" >&2; exit 1; }
fi
