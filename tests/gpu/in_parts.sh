#!/usr/bin/env bash
# tests/gpu/in_parts.sh PROGRAM PARTS: the test cases of a doctest program in so many processes side by side: those of
# the kernels compare with double-precision loops on the host, which take most of the time. Prints each part's output and
# the sum of their assertions; exit status: that of the first part that failed.
set -uo pipefail
program=$1 parts=$2
logs=$(mktemp -d)
trap 'kill $(jobs -rp) 2>/dev/null; rm -rf "$logs"' EXIT
trap 'exit 143' TERM INT
count=$("$program" --count | sed -n 's/.*filters: //p')
if [ -z "$count" ]; then # it has no device, and says so
  "$program"
  exit
fi
pids=()
for ((part = 0; part < parts; ++part)); do
  # Every part-th case would be fairer, but ranges are what doctest has.
  "$program" --first=$((part * count / parts + 1)) --last=$(((part + 1) * count / parts)) >"$logs/$part" 2>&1 &
  pids+=($!)
done
status=0
for ((part = 0; part < parts; ++part)); do
  wait "${pids[$part]}" || { code=$?; if [ "$status" = 0 ]; then status=$code; fi; }
  cat "$logs/$part"
done
awk '/^\[doctest\] assertions:/ { all += $3; passed += $5; failed += $8 }
  END { printf "[all parts] assertions: %d | %d passed | %d failed |\n", all, passed, failed }' "$logs"/*
exit "$status"
