#include <vistazo/convert.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "engine/model.h"
#include "engine/model_source.h"
#include "engine/no_store.h"
#include "engine/preprocess.h"
#include "engine/weight_cursor.h"
#include "kernels/base/error.h"
#include "kernels/base/half.h"
#include "weights/printable.h"
#include "weights/tensor_file.h"

namespace vistazo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char *kConfig = "config.json", *kPreprocessor = "preprocessor_config.json",
                     *kWeights = "model.safetensors";

bool is_floating(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

std::optional<DType> stored_type(Precision precision) {
  switch (precision) {
    case Precision::f32:
      return DType::f32;
    case Precision::f16:
      return DType::f16;
    case Precision::bf16:
      return DType::bf16;
    case Precision::automatic:
      break;
  }
  return {};
}

// The tensors of the new file. Those that change their type are kept here, the others point into the checkpoint.
class Converted {
 public:
  Converted(const Checkpoint& checkpoint, const WeightReader& reader, std::optional<DType> dtype)
      : checkpoint_(checkpoint), reader_(reader), dtype_(dtype) {}

  // Under its new names; several names cut it into as many equal parts, of which those without a name are left out.
  void add(const CheckpointTensor& tensor, const std::vector<std::string>& names) {
    CheckpointTensor whole = as_wanted(tensor);
    if (names.size() > 1) {
      const auto parts = static_cast<std::int64_t>(names.size());
      if (whole.shape.empty() || whole.shape[0] % parts != 0) {
        fail(Error::Code::weights, "{}: tensor {} cannot be cut into {} equal parts", checkpoint_.source(),
             in_quotes(tensor.name), parts);
      }
      whole.shape[0] /= parts;
    }
    const std::size_t bytes = names.empty() ? 0 : whole.bytes.size() / names.size();
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i].empty()) continue;
      tensors_.push_back({names[i], whole.dtype, whole.shape, whole.bytes.subspan(i * bytes, bytes)});
    }
  }

  std::span<const CheckpointTensor> tensors() const { return tensors_; }

 private:
  // Integers that the model takes for numbers become what transformers expects there; counts stay.
  DType dtype_for(const CheckpointTensor& tensor) const {
    if (is_floating(tensor.dtype)) return dtype_.value_or(tensor.dtype);
    return reader_.is_needed(tensor.name) ? dtype_.value_or(DType::f32) : tensor.dtype;
  }

  CheckpointTensor as_wanted(const CheckpointTensor& tensor) {
    const DType dtype = dtype_for(tensor);
    if (tensor.dtype == dtype) return tensor;
    std::vector<float> values(tensor.bytes.size() / size_of(tensor.dtype));
    read_floats(tensor, checkpoint_.source(), values);
    std::vector<std::byte>& buffer = buffers_.emplace_back(values.size() * size_of(dtype));
    if (dtype == DType::f32) {
      std::memcpy(buffer.data(), values.data(), buffer.size());
    } else {
      round_to_16_bits(tensor.name, values, dtype, buffer);
    }
    return {tensor.name, dtype, tensor.shape, buffer};
  }

  void round_to_16_bits(const std::string& name, const std::vector<float>& values, DType dtype,
                        std::vector<std::byte>& out) const {
    const bool is_half = dtype == DType::f16;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint16_t bits = is_half ? f16_from_float(values[i]) : bf16_from_float(values[i]);
      const float rounded = is_half ? float_from_f16(bits) : float_from_bf16(bits);
      if (!std::isfinite(rounded)) {
        fail(Error::Code::weights, "{}: tensor {}: element {} is {}, too large for {}; convert to f32 or bf16",
             checkpoint_.source(), in_quotes(name), i, values[i], name_of(dtype));
      }
      std::memcpy(out.data() + i * sizeof(bits), &bits, sizeof(bits));
    }
  }

  const Checkpoint& checkpoint_;
  const WeightReader& reader_;
  std::optional<DType> dtype_;
  std::vector<CheckpointTensor> tensors_;
  std::vector<std::vector<std::byte>> buffers_;
};

Json config_for(const ModelSource& source, const ConvertOptions& options) {
  Json config = source.config.document();
  if (!options.class_names.empty()) {
    Json labels = Json::object(), ids = Json::object();
    for (std::size_t i = 0; i < options.class_names.size(); ++i) {
      labels[std::to_string(i)] = options.class_names[i];
      ids[options.class_names[i]] = i;
    }
    config["id2label"] = std::move(labels);
    config["label2id"] = std::move(ids);
  }
  if (const auto dtype = stored_type(options.dtype)) {
    config["dtype"] = *dtype == DType::f32 ? "float32" : *dtype == DType::f16 ? "float16" : "bfloat16";
  }
  return config;
}

// What the model's folder says, else what its family's authors do.
Json preprocessor_for(const ModelSource& source, const ModelTraits& traits) {
  if (source.preprocessor) return source.preprocessor->document();
  const Preprocessing p = default_preprocessing(traits);
  return {{"do_resize", true},
          {"size", {{"height", p.input.height}, {"width", p.input.width}}},
          {"resample", 2},
          {"do_rescale", true},
          {"rescale_factor", 1.0 / 255.0},
          {"do_normalize", true},
          {"image_mean", p.mean},
          {"image_std", p.std}};
}

// Whole or not at all.
void write_json_file(const fs::path& path, const Json& json) {
  fs::path temporary = path;
  temporary += ".part";
  std::error_code error;
  {
    std::ofstream file(temporary, std::ios::binary);
    file << json.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
    file.close();
    if (!file) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) fs::rename(temporary, path, error);
  if (!error) return;
  std::error_code ignored;
  fs::remove(temporary, ignored);
  fail(Error::Code::file, "{}: cannot be written: {}", path.string(), error.message());
}

void prepare_folder(const fs::path& folder) {
  std::error_code error;
  for (const char* name : {kConfig, kPreprocessor, kWeights}) {
    if (!fs::exists(folder / name, error)) continue;
    fail(Error::Code::argument, "{}: already has a {}; name a new folder", folder.string(), name);
  }
  fs::create_directories(folder, error);
  if (error) fail(Error::Code::file, "{}: cannot be made: {}", folder.string(), error.message());
}

}  // namespace

Conversion convert_model(const fs::path& path, const fs::path& folder, const ConvertOptions& options) {
  const ModelSource source = open_model(path, options.architecture);
  const Checkpoint& checkpoint = *source.checkpoint;
  NoStore store;
  WeightReader reader(checkpoint, store);
  const std::unique_ptr<Model> model = make_model(source.config, reader);  // every tensor is there
  const ModelTraits& traits = model->traits();
  if (!options.class_names.empty() && options.class_names.size() != traits.class_names.size()) {
    fail(Error::Code::argument, "{}: {} class names are given; the model has {} classes", path.string(),
         options.class_names.size(), traits.class_names.size());
  }

  Converted converted(checkpoint, reader, stored_type(options.dtype));
  const std::string model_type = source.config.string("model_type");
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    std::optional<std::vector<std::string>> names{{tensor.name}};
    if (traits.dialect != "huggingface") names = huggingface_names(model_type, checkpoint, tensor.name);
    if (!names) {
      fail(Error::Code::unsupported, "{}: tensor {} of family {} has no Hugging Face name here", checkpoint.source(),
           in_quotes(tensor.name), traits.family);
    }
    converted.add(tensor, *names);
  }

  prepare_folder(folder);
  write_safetensors(folder / kWeights, converted.tensors());
  write_json_file(folder / kPreprocessor, preprocessor_for(source, traits));
  write_json_file(folder / kConfig, config_for(source, options));  // last: it makes the folder a model
  Conversion result{
      traits.family, traits.dialect, source.architecture, checkpoint.part(), converted.tensors().size(), {}};
  for (const UnsupportedTensor& tensor : checkpoint.unsupported()) result.left_out.push_back(tensor.name);
  return result;
}

}  // namespace vistazo
