#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/dtype.h"

namespace vistazo {

// A tensor of a checkpoint: validated, so that bytes.size() is the product of the shape times the element size.
struct CheckpointTensor {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;  // little-endian, row-major; valid as long as the Checkpoint. May be unaligned.
};

// A tensor of a type that the format has but DType lacks, such as F64 or I16.
struct UnsupportedTensor {
  std::string name;
  std::string dtype;  // as the file says
};

// Named tensors of a file or of several, mapped and not read. Nothing in a checkpoint is ever executed.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // Sorted by name.
  virtual std::span<const CheckpointTensor> tensors() const = 0;
  // Sorted by name; not among tensors(). They do no harm as long as nobody asks for them.
  virtual std::span<const UnsupportedTensor> unsupported() const = 0;
  // The file's or folder's path, for messages.
  virtual const std::string& source() const = 0;
  // Which of several tables of weights in the file this is, "ema.module"; empty if there is one.
  virtual const std::string& part() const = 0;

  // Null if there is none. Throws Error{unsupported} for one of unsupported().
  const CheckpointTensor* find(std::string_view name) const;
};

// Opens `path`: a .safetensors file, a *.safetensors.index.json of a sharded one, a PyTorch checkpoint (.pth, .pt,
// .ckpt or .bin; see parse_torch), or a folder with model.safetensors, model.safetensors.index.json or, failing both,
// exactly one .safetensors file, or without such a file exactly one of PyTorch's. An index names the tensors that the
// checkpoint has: others in its shards are ignored. Throws Error{file}, naming the file, for anything that is
// missing, unreadable, malformed or hostile.
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path);

// Converts numbers to f32: any floating-point tensor, and i64 and i32. Throws Error{weights} for another dtype, a value
// that is not finite or an integer beyond 2^24, naming `source`, the tensor and the value's flat index. out.size() must
// be the element count.
void read_floats(const CheckpointTensor& tensor, const std::string& source, std::span<float> out);

}  // namespace vistazo
