#!/usr/bin/env bash
# tests/install/run.sh BUILD [CXX]: installs BUILD into a temporary folder, and from there compiles, links and runs
# main.cpp with find_package(vistazo) and with pkg-config, and each public header on its own.
set -euo pipefail
build=$(cd "$1" && pwd)
compiler=${2:-c++}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
# Moved, so that nothing can depend on where it was installed.
mv "$work/prefix" "$work/moved"

echo "== find_package(vistazo)"
cmake -S "$here" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/moved" -DCMAKE_CXX_COMPILER="$compiler" >"$work/cmake.log"
cmake --build "$work/build"
model="$work/moved/share/vistazo/weights/cells"
"$work/build/install_test" "$model"

echo "== pkg-config vistazo"
PKG_CONFIG_PATH=$(dirname "$(find "$work/moved" -name vistazo.pc)")
export PKG_CONFIG_PATH
read -ra flags <<<"$(pkg-config --cflags --libs vistazo)"
"$compiler" -std=c++20 "$here/main.cpp" -o "$work/install_test" "${flags[@]}"
"$work/install_test" "$model"

echo "== public headers on their own"
for header in "$work"/moved/include/vistazo/*.h; do
  if [ "$(basename "$header")" = opencv.h ] && ! pkg-config --exists opencv4; then continue; fi
  read -ra flags <<<"-I$work/moved/include $(pkg-config --cflags opencv4 2>/dev/null || true)"
  "$compiler" -std=c++20 -fsyntax-only -x c++ "${flags[@]}" -include "$header" /dev/null
  basename "$header"
done

if [ -x "$work/moved/bin/vistazo" ]; then
  echo "== the installed command"
  "$work/moved/bin/vistazo" --version
  "$work/moved/bin/vistazo" inspect "$model" >/dev/null
fi
