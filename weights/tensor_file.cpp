#include "weights/tensor_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <tuple>

#include "kernels/base/aligned.h"
#include "kernels/base/error.h"
#include "weights/printable.h"

namespace vistazo {
namespace {

constexpr std::size_t kLongestName = 1024;  // what parse_safetensors accepts

const char* stored_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::u8:
      return "U8";
    case DType::boolean:
      return "BOOL";
  }
  return "?";
}

// A new file beside `path`; removed again unless commit() gave it that name.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path)
      : path_(path), temporary_(path.string() + ".part" + std::to_string(::getpid())) {
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail_with_errno("created");
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail_with_errno("written");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  void commit() {
    if (::fsync(descriptor_) != 0) fail_with_errno("written");
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_with_errno("renamed");
    ::close(descriptor_);
    descriptor_ = -1;
  }

 private:
  [[noreturn]] void fail_with_errno(const char* action) const {
    const int code = errno;
    fail(Error::Code::file, "{}: cannot be {}: {}", path_.string(), action, std::generic_category().message(code));
  }

  std::filesystem::path path_;
  std::string temporary_;
  int descriptor_ = -1;
};

void check_tensor(const CheckpointTensor& tensor) {
  std::uint64_t bytes = size_of(tensor.dtype);
  bool is_valid = true;
  for (const std::int64_t dimension : tensor.shape) {
    is_valid =
        is_valid && dimension >= 0 && !__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dimension), &bytes);
  }
  if (!is_valid || bytes != tensor.bytes.size()) {
    fail(Error::Code::argument, "write_safetensors: tensor {}: {} bytes do not fit its shape", in_quotes(tensor.name),
         tensor.bytes.size());
  }
  if (tensor.name == "__metadata__" || tensor.name.size() > kLongestName) {
    fail(Error::Code::argument, "write_safetensors: a tensor cannot be called {}", in_quotes(tensor.name));
  }
}

// In the order in which the data is written: wide elements first, so that each starts at a multiple of its size.
std::vector<const CheckpointTensor*> ordered(std::span<const CheckpointTensor> tensors) {
  std::vector<const CheckpointTensor*> order;
  for (const CheckpointTensor& tensor : tensors) {
    check_tensor(tensor);
    order.push_back(&tensor);
  }
  const auto by_name = [](const auto* a, const auto* b) { return a->name < b->name; };
  std::sort(order.begin(), order.end(), by_name);
  const auto twice =
      std::adjacent_find(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->name == b->name; });
  if (twice != order.end()) {
    fail(Error::Code::argument, "write_safetensors: tensor {} is given twice", in_quotes((*twice)->name));
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return size_of(a->dtype) > size_of(b->dtype); });
  return order;
}

std::string header_for(std::span<const CheckpointTensor* const> order) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::uint64_t offset = 0;
  for (const CheckpointTensor* tensor : order) {
    const std::uint64_t end = offset + tensor->bytes.size();
    header[tensor->name] = {
        {"dtype", stored_name(tensor->dtype)}, {"shape", tensor->shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail(Error::Code::argument, "write_safetensors: a tensor's name is not valid UTF-8");
  }
  text.resize(align_up(text.size(), 8), ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const CheckpointTensor> tensors) {
  const std::vector<const CheckpointTensor*> order = ordered(tensors);
  const std::string header = header_for(order);
  const std::uint64_t length = header.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const CheckpointTensor* tensor : order) file.write(tensor->bytes);
  file.commit();
}

}  // namespace vistazo
