#pragma once

#include <array>
#include <cstdint>

namespace vistazo::apps {

using Colour = std::array<std::uint8_t, 3>;  // red, green, blue

// The colour of a class: the seven of Okabe and Ito (2008), which colour-blind people tell apart, then lighter and
// darker ones of the same hues.
Colour class_colour(int class_id);

// Whether black text is easier to read on the colour than white, by the contrast ratio of WCAG 2.
bool needs_black_text(const Colour& background);

}  // namespace vistazo::apps
