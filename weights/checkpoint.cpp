#include "weights/checkpoint.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "kernels/base/error.h"
#include "weights/json_file.h"
#include "weights/mapped_file.h"
#include "weights/printable.h"
#include "weights/safetensors.h"
#include "weights/torch_zip.h"

namespace vistazo {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWeights = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::size_t kMostShards = 4096;

template <typename Tensor>
const Tensor* find_by_name(std::span<const Tensor> sorted, std::string_view name) {
  const auto place = std::lower_bound(sorted.begin(), sorted.end(), name,
                                      [](const Tensor& tensor, std::string_view n) { return tensor.name < n; });
  return place != sorted.end() && place->name == name ? &*place : nullptr;
}

class FileCheckpoint final : public Checkpoint {
 public:
  FileCheckpoint(std::string source, std::vector<MappedFile> files, TensorTable table)
      : source_(std::move(source)), files_(std::move(files)), table_(std::move(table)) {}
  FileCheckpoint(std::string source, std::vector<MappedFile> files, TorchTensors tensors)
      : source_(std::move(source)),
        part_(std::move(tensors.part)),
        files_(std::move(files)),
        buffers_(std::move(tensors.buffers)),
        table_(std::move(tensors.table)) {}

  std::span<const CheckpointTensor> tensors() const override { return table_.tensors; }
  std::span<const UnsupportedTensor> unsupported() const override { return table_.unsupported; }
  const std::string& source() const override { return source_; }
  const std::string& part() const override { return part_; }

 private:
  std::string source_, part_;
  std::vector<MappedFile> files_;  // what the table points into, together with:
  std::vector<std::vector<std::byte>> buffers_;
  TensorTable table_;
};

bool is_torch_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".pth" || extension == ".pt" || extension == ".ckpt" || extension == ".bin";
}

std::unique_ptr<Checkpoint> open_file(const fs::path& path) {
  std::vector<MappedFile> files;
  files.emplace_back(path);
  if (is_torch_name(path)) {
    TorchTensors tensors = parse_torch(files.back().bytes(), path.string());
    return std::make_unique<FileCheckpoint>(path.string(), std::move(files), std::move(tensors));
  }
  TensorTable table = parse_safetensors(files.back().bytes(), path.string());
  return std::make_unique<FileCheckpoint>(path.string(), std::move(files), std::move(table));
}

// A shard stays in its index's folder: anything but a plain file name could make a downloaded index read any file.
void check_shard_name(const std::string& shard, const std::string& index) {
  const bool is_plain = shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!is_plain || !shard.ends_with(".safetensors")) {
    fail(Error::Code::file, "{}: shard {}; the name of a .safetensors file in the same folder is wanted", index,
         in_quotes(shard));
  }
}

// {"metadata": {...}, "weight_map": {"tensor": "shard.safetensors", ...}}
Json read_weight_map(const fs::path& path) {
  const std::string source = path.string();
  Json index = read_json(path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    fail(Error::Code::file, "{}: has no object \"weight_map\"", source);
  }
  Json map = std::move(index["weight_map"]);
  for (const auto& [name, shard] : map.items()) {
    if (!shard.is_string()) fail(Error::Code::file, "{}: tensor {}: its shard is not a text", source, in_quotes(name));
    check_shard_name(shard.get_ref<const std::string&>(), source);
  }
  return map;
}

std::unique_ptr<Checkpoint> open_index(const fs::path& path) {
  const std::string source = path.string();
  const Json weight_map = read_weight_map(path);
  std::vector<MappedFile> files;
  std::map<std::string, TensorTable, std::less<>> shards;
  TensorTable table;
  for (const auto& [name, value] : weight_map.items()) {  // in the order of the names
    const auto& shard = value.get_ref<const std::string&>();
    auto place = shards.find(shard);
    if (place == shards.end()) {
      if (shards.size() == kMostShards) fail(Error::Code::file, "{}: more than {} shards", source, kMostShards);
      const fs::path file = path.parent_path() / shard;
      files.emplace_back(file);
      place = shards.emplace(shard, parse_safetensors(files.back().bytes(), file.string())).first;
    }
    const TensorTable& of_shard = place->second;
    if (const auto* tensor = find_by_name<CheckpointTensor>(of_shard.tensors, name)) {
      table.tensors.push_back(*tensor);
    } else if (const auto* unsupported = find_by_name<UnsupportedTensor>(of_shard.unsupported, name)) {
      table.unsupported.push_back(*unsupported);
    } else {
      fail(Error::Code::file, "{}: tensor {} is not in {}", source, in_quotes(name), in_quotes(shard));
    }
  }
  return std::make_unique<FileCheckpoint>(source, std::move(files), std::move(table));
}

// The file of a folder that holds the weights, or the index of several.
fs::path find_weights(const fs::path& folder) {
  for (const std::string_view name : {kWeights, kIndex}) {
    if (std::error_code error; fs::exists(folder / name, error)) return folder / name;
  }
  std::vector<fs::path> others, torch_files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == ".safetensors") others.push_back(entry->path());
    if (is_torch_name(entry->path())) torch_files.push_back(entry->path());
  }
  if (error) fail(Error::Code::file, "{}: cannot be listed: {}", folder.string(), error.message());
  if (others.empty() && torch_files.size() == 1) return torch_files.front();
  if (others.size() == 1) return others.front();
  fail(Error::Code::file, "{}: has no {} and no {}, and {} other .safetensors files; one is wanted", folder.string(),
       kWeights, kIndex, others.empty() ? "no" : std::to_string(others.size()));
}

}  // namespace

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  if (const auto* tensor = find_by_name(tensors(), name)) return tensor;
  if (const auto* tensor = find_by_name(unsupported(), name)) {
    fail(Error::Code::unsupported, "{}: tensor {} is of type {}; f32, f16, bf16, i64, i32, u8 and bool can be read",
         source(), in_quotes(name), tensor->dtype);
  }
  return nullptr;
}

std::unique_ptr<Checkpoint> open_checkpoint(const fs::path& path) {
  std::error_code error;
  const bool is_folder = fs::is_directory(path, error);
  const fs::path file = is_folder ? find_weights(path) : path;
  const std::string name = file.filename().string();
  if (name.ends_with(".safetensors") || is_torch_name(file)) return open_file(file);
  if (name.ends_with(".safetensors.index.json")) return open_index(file);
  if (!fs::exists(file, error)) fail(Error::Code::file, "{}: no such file or folder", file.string());
  fail(Error::Code::file,
       "{}: a .safetensors, .pth or .pt file, a .safetensors.index.json file or a folder with one is wanted",
       file.string());
}

}  // namespace vistazo
