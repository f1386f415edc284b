#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What Hugging Face calls tensors that several families' authors call alike, for `vistazo convert`. As rename()
// answers: several names cut the tensor, none leaves it out; nothing is said of names that are not known here.
namespace vistazo {

using TensorNames = std::optional<std::vector<std::string>>;

// HGNetV2's, without the prefix of the backbone: "stem.stem1.conv.weight" -> "embedder.stem1.convolution.weight".
TensorNames hgnet_v2_names(std::string_view name);

// The hybrid encoder's and the decoder's layers, and the heads, of RT-DETR and of the families that come from it.
TensorNames rt_detr_names(std::string_view name);

// The same names behind `prefix`.
TensorNames behind(std::string_view prefix, TensorNames names);

// `name` without `prefix`; nothing if it does not start so.
std::optional<std::string_view> without(std::string_view prefix, std::string_view name);

}  // namespace vistazo
