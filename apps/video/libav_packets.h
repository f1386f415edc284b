#pragma once

#include "apps/video/libav_input.h"
#include "apps/video/packet_source.h"

namespace vistazo::apps {

// The packets of a source that FFmpeg demuxes, as the same bytes in Annex B's format. The input stays as it was until
// the first packet is read. Throws Error{unsupported} for other codecs, and for pictures to be turned.
std::unique_ptr<PacketSource> make_libav_packets(std::shared_ptr<LibavInput> input);

}  // namespace vistazo::apps
