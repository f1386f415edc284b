#!/usr/bin/env bash
# Makes the byte streams of tests/data/video with ffmpeg (libx264, libx265): 30 grey pictures of 160 x 160, the i-th of luma
# 20 + 7 i (limited range, BT.709), with B frames.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/video"
source=(-f lavfi -i "color=black:size=160x160:rate=25,format=yuv420p,geq=lum='20+7*N':cb=128:cr=128" -frames:v 30)
colours=(-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv)
ffmpeg -loglevel error -y "${source[@]}" "${colours[@]}" -c:v libx264 -bf 2 -g 10 -crf 8 -bsf:v filter_units=remove_types=6 \
  levels.h264
ffmpeg -loglevel error -y "${source[@]}" "${colours[@]}" -c:v libx265 \
  -x265-params bframes=2:keyint=10:crf=8:log-level=none:info=0 levels.hevc
