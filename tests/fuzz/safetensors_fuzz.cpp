#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "weights/safetensors.h"

// Bytes -> safetensors parser and f32 reader. An Error is a fine answer; a crash, a leak or a broken promise is not.
namespace vistazo {
namespace {

void require(bool condition) {
  if (!condition) __builtin_trap();
}

// A file that starts with 'H' stands for its header and data without the length in front, which is worked out here:
// most changes to a header would otherwise only make its length wrong.
std::string with_length(std::string_view text) {
  const std::uint64_t length = std::min(text.find('\n'), text.size());
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  file += text.substr(0, length);
  if (length < text.size()) file += text.substr(length + 1);
  return file;
}

void check_tensor(const CheckpointTensor& tensor, std::span<const std::byte> file) {
  require(tensor.bytes.empty() || (tensor.bytes.data() >= file.data() &&
                                   tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size()));
  std::uint64_t bytes = size_of(tensor.dtype);
  for (const std::int64_t dimension : tensor.shape) {
    require(dimension >= 0);
    bytes *= static_cast<std::uint64_t>(dimension);
  }
  require(bytes == tensor.bytes.size());
  std::vector<float> values(tensor.bytes.size() / size_of(tensor.dtype));
  try {
    read_floats(tensor, "fuzz", values);
  } catch (const Error& error) {
    require(error.code == Error::Code::weights);
  }
}

void check_file(std::span<const std::byte> file) {
  TensorTable table;
  try {
    table = parse_safetensors(file, "fuzz");
  } catch (const Error& error) {
    require(error.code == Error::Code::file);
    return;
  }
  for (std::size_t i = 0; i < table.tensors.size(); ++i) {
    require(i == 0 || table.tensors[i - 1].name < table.tensors[i].name);
    check_tensor(table.tensors[i], file);
  }
}

}  // namespace
}  // namespace vistazo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with('H')) {
    const std::string file = vistazo::with_length(text.substr(1));
    vistazo::check_file(std::as_bytes(std::span(file)));
  } else {
    vistazo::check_file(std::as_bytes(std::span(data, size)));
  }
  return 0;
}
