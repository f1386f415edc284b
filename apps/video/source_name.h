#pragma once

#include <algorithm>
#include <string>

// What a source's name says about it.
namespace vistazo::apps {

inline bool is_number(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

inline bool is_camera(const std::string& source) {
  return is_number(source) || source.starts_with("/dev/video");
}

inline bool is_on_network(const std::string& source) {
  return source.find("://") != std::string::npos && !source.starts_with("file://");
}

// A camera or stream rather than files.
inline bool is_live_source(const std::string& source) {
  return is_camera(source) || (is_on_network(source) && !source.starts_with("http"));
}

}  // namespace vistazo::apps
