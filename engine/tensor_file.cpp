#include "weights/tensor_file.h"

#include <vistazo/tensor_file.h>

#include "kernels/base/error.h"
#include "weights/checkpoint.h"

namespace vistazo {

std::map<std::string, FloatTensor> read_tensor_file(const std::filesystem::path& path) {
  const std::unique_ptr<Checkpoint> file = open_checkpoint(path);
  std::map<std::string, FloatTensor> tensors;
  for (const CheckpointTensor& t : file->tensors()) {
    if (t.dtype != DType::f32 && t.dtype != DType::f16 && t.dtype != DType::bf16) continue;
    FloatTensor& tensor = tensors[t.name];
    tensor.shape = t.shape;
    tensor.values.resize(t.bytes.size() / size_of(t.dtype));
    read_floats(t, file->source(), tensor.values);
  }
  return tensors;
}

void write_tensor_file(const std::filesystem::path& path, const std::map<std::string, FloatTensor>& tensors) {
  std::vector<CheckpointTensor> list;
  for (const auto& [name, t] : tensors) {
    list.push_back({name, DType::f32, t.shape, std::as_bytes(std::span(t.values))});
  }
  write_safetensors(path, list);
}

}  // namespace vistazo
