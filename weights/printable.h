#pragma once

#include <string>
#include <string_view>

namespace vistazo {

// Text of a file as a message may show it: bytes that are not printable ASCII, and could steer a terminal, become '?',
// and everything behind the first 120 bytes becomes "...".
std::string printable(std::string_view text);

// The same between double quotes.
std::string in_quotes(std::string_view text);

}  // namespace vistazo
