#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vistazo {

// How tensors of one dialect are called in another. Names are segments between dots. In `from`, `*` stands for any one
// segment and a last `**` for one or more; in `to`, they are filled in in the same order. One pair of braces in `to`
// cuts the tensor into equal parts along its first dimension, in the order of the words:
//   {"decoder.layers.*.attn.in_proj_weight", "decoder.layers.*.attn.{q,k,v}_proj.weight"}
// An empty `to` leaves the tensor out, an empty word its part.
struct NameRule {
  std::string_view from, to;
};

// The new names by the first rule that fits: several where the tensor is to be cut (an empty one for a part that is
// left out), none where it is left out; nothing if no rule fits.
std::optional<std::vector<std::string>> rename(std::span<const NameRule> rules, std::string_view name);

}  // namespace vistazo
