#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "kernels/base/error.h"
#include "weights/torch_zip.h"

// Bytes -> PyTorch checkpoint. An Error is a fine answer; a crash, a leak or a broken promise is not.
namespace vistazo {
namespace {

void require(bool condition) {
  if (!condition) __builtin_trap();
}

// Little-endian.
std::string number(std::uint64_t value, std::size_t bytes) {
  std::string text(bytes, '\0');
  std::memcpy(text.data(), &value, std::min(bytes, sizeof(value)));
  return text;
}

// An input that starts with 'P' stands for a pickle, which is packed into an archive with one storage here: most
// changes to an archive would otherwise only make its directory wrong.
std::string with_archive(std::string_view pickle) {
  std::string file, directory;
  const auto add = [&](std::string_view name, std::string_view content) {
    const std::string common = number(20, 2) + number(0, 12) + number(content.size(), 4) + number(content.size(), 4) +
                               number(name.size(), 2) + number(0, 2);
    directory.append("PK\1\2").append(number(20, 2)).append(common).append(number(0, 10));
    directory.append(number(file.size(), 4)).append(name);
    file.append("PK\3\4").append(common).append(name).append(content);
  };
  add("a/data.pkl", pickle);
  add("a/data/0", std::string(96, '\1'));
  return file + directory + "PK\5\6" + number(0, 4) + number(2, 2) + number(2, 2) + number(directory.size(), 4) +
         number(file.size(), 4) + number(0, 2);
}

void check_file(std::string_view text) {
  const std::span<const std::byte> file = std::as_bytes(std::span(text));
  TorchTensors tensors;
  try {
    tensors = parse_torch(file, "fuzz");
  } catch (const Error& error) {
    require(error.code == Error::Code::file || error.code == Error::Code::unsupported);
    return;
  }
  unsigned sum = 0;
  for (std::size_t i = 0; i < tensors.table.tensors.size(); ++i) {
    const CheckpointTensor& tensor = tensors.table.tensors[i];
    require(i == 0 || tensors.table.tensors[i - 1].name < tensor.name);
    std::uint64_t bytes = size_of(tensor.dtype);
    for (const std::int64_t dimension : tensor.shape) {
      require(dimension >= 0);
      bytes *= static_cast<std::uint64_t>(dimension);
    }
    require(bytes == tensor.bytes.size());
    if (i > 100) continue;                                                   // many may share a storage
    for (const std::byte b : tensor.bytes) sum += static_cast<unsigned>(b);  // all of them can be read
  }
  [[maybe_unused]] volatile unsigned used = sum;
}

}  // namespace
}  // namespace vistazo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with('P') && !text.starts_with("PK")) {
    vistazo::check_file(vistazo::with_archive(text.substr(1)));
  } else {
    vistazo::check_file(text);
  }
  return 0;
}
