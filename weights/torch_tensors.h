#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/pickle.h"
#include "weights/torch_globals.h"
#include "weights/torch_zip.h"

// Tensors out of the graph that a checkpoint's pickle describes; how the bytes of a storage are found is the file
// layout's affair.
namespace vistazo {

// A storage as the pickle refers to it. A view lies inside of another one.
struct StorageReference {
  std::string_view key;
  const TorchElement* element = nullptr;
  std::uint64_t elements = 0;
  std::uint64_t view_offset = 0;  // in elements; of old files only
};

// What a value of kind `persistent` refers to. Throws Error{file} for what is malformed.
StorageReference read_storage_reference(const Pickle& pickle, Pickle::Id id, const std::string& source);

// The bytes of a storage: at least elements * element->bytes, else Error{file}.
using FindStorage = std::function<std::span<const std::byte>(const StorageReference&)>;

// The checkpoint's table of weights; see parse_torch. gather_limit: bytes that may be gathered.
TorchTensors collect_tensors(const Pickle& pickle, const FindStorage& find_storage, std::uint64_t gather_limit,
                             const std::string& source);

}  // namespace vistazo
