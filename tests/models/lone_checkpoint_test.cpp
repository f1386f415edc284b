#include <doctest/doctest.h>
#include <fmt/format.h>
#include <vistazo/convert.h>
#include <vistazo/detector.h>
#include <vistazo/tensor_file.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "engine/model.h"
#include "engine/model_source.h"
#include "engine/no_store.h"
#include "engine/weight_cursor.h"
#include "models/families.h"
#include "models/rf_detr_config.h"
#include "tests/weights/support.h"
#include "weights/name_rules.h"

// Weights without a config.json, and what `vistazo convert` makes of them.
namespace vistazo {
namespace {

const std::filesystem::path kModels = std::filesystem::path(VISTAZO_TEST_DATA) / "models";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// RF-DETR's tensors of any size, in the authors' names. All of them are zeros, in one place.
class ZeroRfDetr final : public Checkpoint {
 public:
  struct Sizes {
    int dim = 384, patch = 16, positions = 24, decoder_layers = 2, classes = 91, groups = 13;
  };

  explicit ZeroRfDetr(const Sizes& s) {
    const int d = s.dim, c = 256, samples = 16 * 2, rows = 300 * s.groups;
    const std::string trunk = "backbone.0.encoder.encoder.";
    add(trunk + "embeddings.cls_token", {1, 1, d});
    add(trunk + "embeddings.mask_token", {1, d});
    add(trunk + "embeddings.position_embeddings", {1, 1 + s.positions * s.positions, d});
    add(trunk + "embeddings.patch_embeddings.projection.weight", {d, 3, s.patch, s.patch});
    add(trunk + "embeddings.patch_embeddings.projection.bias", {d});
    for (int i = 0; i < 12; ++i) {
      const std::string layer = fmt::format("{}encoder.layer.{}.", trunk, i);
      for (const char* name : {"query", "key", "value"}) linear(layer + "attention.attention." + name, d, d);
      linear(layer + "attention.output.dense", d, d);
      linear(layer + "mlp.fc1", d, 4 * d);
      linear(layer + "mlp.fc2", 4 * d, d);
      for (const char* name : {"norm1", "norm2"}) norm(layer + name, d);
      for (const char* name : {"layer_scale1", "layer_scale2"}) add(layer + name + ".lambda1", {d});
    }
    norm(trunk + "layernorm", d);
    const std::string stage = "backbone.0.projector.stages.0.";
    convolution(stage + "0.cv1", 4 * d, c, 1);
    convolution(stage + "0.cv2", 5 * c / 2, c, 1);
    for (int i = 0; i < 3; ++i) {
      for (const char* name : {"cv1", "cv2"}) convolution(fmt::format("{}0.m.{}.{}", stage, i, name), c / 2, c / 2, 3);
    }
    norm(stage + "1", c);
    for (int i = 0; i < s.decoder_layers; ++i) {
      const std::string layer = fmt::format("transformer.decoder.layers.{}.", i);
      add(layer + "self_attn.in_proj_weight", {3 * c, c});
      add(layer + "self_attn.in_proj_bias", {3 * c});
      linear(layer + "self_attn.out_proj", c, c);
      linear(layer + "cross_attn.sampling_offsets", c, 2 * samples);
      linear(layer + "cross_attn.attention_weights", c, samples);
      for (const char* name : {"value_proj", "output_proj"}) linear(layer + "cross_attn." + name, c, c);
      linear(layer + "linear1", c, 2048);
      linear(layer + "linear2", 2048, c);
      for (const char* name : {"norm1", "norm2", "norm3"}) norm(layer + name, c);
    }
    norm("transformer.decoder.norm", c);
    linear("transformer.decoder.ref_point_head.layers.0", 2 * c, c);
    linear("transformer.decoder.ref_point_head.layers.1", c, c);
    for (int g = 0; g < s.groups; ++g) {
      linear(fmt::format("transformer.enc_output.{}", g), c, c);
      norm(fmt::format("transformer.enc_output_norm.{}", g), c);
      linear(fmt::format("transformer.enc_out_class_embed.{}", g), c, s.classes);
      mlp(fmt::format("transformer.enc_out_bbox_embed.{}", g), c);
    }
    add("refpoint_embed.weight", {rows, 4});
    add("query_feat.weight", {rows, c});
    linear("class_embed", c, s.classes);
    mlp("bbox_embed", c);
    std::ranges::sort(tensors_, {}, &CheckpointTensor::name);
    for (CheckpointTensor& tensor : tensors_) tensor.bytes = std::span(zeros_).first(bytes_of(tensor.shape));
  }

  std::span<const CheckpointTensor> tensors() const override { return tensors_; }
  std::span<const UnsupportedTensor> unsupported() const override { return {}; }
  const std::string& source() const override { return source_; }
  const std::string& part() const override { return part_; }

 private:
  static std::size_t bytes_of(const std::vector<std::int64_t>& shape) {
    std::size_t bytes = 2;
    for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
    return bytes;
  }
  void add(const std::string& name, std::vector<std::int64_t> shape) {
    zeros_.resize(std::max(zeros_.size(), bytes_of(shape)));
    tensors_.push_back({name, DType::bf16, std::move(shape), {}});
  }
  void linear(const std::string& name, int in, int out) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }
  void norm(const std::string& name, int size) {
    add(name + ".weight", {size});
    add(name + ".bias", {size});
  }
  void convolution(const std::string& name, int in, int out, int kernel) {
    add(name + ".conv.weight", {out, in, kernel, kernel});
    norm(name + ".bn", out);
  }
  void mlp(const std::string& name, int width) {
    for (int i = 0; i < 3; ++i) linear(fmt::format("{}.layers.{}", name, i), width, i == 2 ? 4 : width);
  }

  std::vector<CheckpointTensor> tensors_;
  std::vector<std::byte> zeros_;
  std::string source_ = "x.pth", part_;
};

TEST_CASE("RF-DETR: the published size is found by the shapes") {
  struct Case {
    const char* name;
    ZeroRfDetr::Sizes sizes;
    int resolution;
  };
  for (const Case& c : {Case{"rf-detr-nano", {.positions = 24, .decoder_layers = 2}, 384},
                        Case{"rf-detr-small", {.positions = 32, .decoder_layers = 3}, 512},
                        Case{"rf-detr-medium", {.positions = 36, .decoder_layers = 4}, 576},
                        Case{"rf-detr-base", {.patch = 14, .positions = 37, .decoder_layers = 3}, 560},
                        Case{"rf-detr-large", {.positions = 44, .decoder_layers = 4}, 704}}) {
    CAPTURE(c.name);
    const Description found = describe_checkpoint(ZeroRfDetr(c.sizes), "");
    CHECK(found.architecture == c.name);
    CHECK(found.preprocessor.child("size").integer("height", 1, 10000) == c.resolution);
    CHECK(found.config.labels("id2label").at(90) == "toothbrush");
    CHECK(found.config.integer("group_detr", 1, 100) == 13);
  }
}

TEST_CASE("RF-DETR: the first Large looks at two levels") {
  const ZeroRfDetr any({});
  const RfDetrConfig c = read_rf_detr_config(describe_checkpoint(any, "rf-detr-large-2025").config);
  CHECK(c.scales == std::vector<double>{2.0, 0.5});
  CHECK(c.decoder.levels == 2);
  CHECK(c.decoder.dim == 384);
  CHECK(c.vit.dim == 768);
  CHECK(c.stages == std::vector<int>{2, 5, 8, 11});
  CHECK(read_rf_detr_config(describe_checkpoint(any, "rf-detr-large").config).scales == std::vector<double>{1.0});
}

TEST_CASE("RF-DETR: counts of classes and of groups come from the tensors") {
  const Description found = describe_checkpoint(ZeroRfDetr({.classes = 4, .groups = 1}), "");
  CHECK(found.architecture == "rf-detr-nano");
  CHECK(found.config.labels("id2label") == std::vector<std::string>{"class 0", "class 1", "class 2", "class 3"});
  CHECK(found.config.integer("group_detr", 1, 100) == 1);
  const Description coco = describe_checkpoint(ZeroRfDetr({.classes = 80}), "");
  CHECK(coco.config.labels("id2label").at(0) == "person");
  CHECK(coco.config.labels("id2label").at(79) == "toothbrush");
}

TEST_CASE("RF-DETR: another resolution fits no published size until one is named") {
  const ZeroRfDetr trained({.positions = 28, .decoder_layers = 2});
  const std::string refusal = testing::message_of(Error::Code::weights, [&] { describe_checkpoint(trained, ""); });
  CAPTURE(refusal);
  CHECK(contains(refusal, "x.pth: has no config.json beside it and is none of the published sizes (rf-detr-nano, "));
  CHECK(contains(refusal, "position_embeddings\" has shape (1, 785, 384)"));
  CHECK(contains(refusal, "--arch"));
  const Description named = describe_checkpoint(trained, "rf-detr-nano");
  CHECK(named.preprocessor.child("size").integer("height", 1, 10000) == 448);
  const std::string unknown =
      testing::message_of(Error::Code::argument, [&] { describe_checkpoint(trained, "rf-detr-pico"); });
  CHECK(contains(unknown, "architecture (--arch) is \"rf-detr-pico\"; one of these is wanted: "));
  CHECK(contains(unknown, "rf-detr-nano, rf-detr-small"));
}

// The tensors of one published size, all of them zeros, found by asking for what is missing until nothing is.
class ZeroTensors final : public Checkpoint {
 public:
  ZeroTensors(const OriginalFiles& files, std::string_view architecture, const std::string& first) {
    add(first, {1});  // tells the dialect
    const std::regex missing(R"re("([^"]+)" is missing; the config needs it with shape \(([^)]*)\))re");
    const std::regex misshapen(R"re("([^"]+)" has shape [^;]*; the config needs \(([^)]*)\))re");
    for (;;) {
      NoStore store;
      WeightReader reader(*this, store);
      try {
        make_model(files.describe(architecture, *this, true).config, reader);
        return;
      } catch (const Error& error) {
        const std::string text = error.what();
        std::smatch found;
        REQUIRE((std::regex_search(text, found, missing) || std::regex_search(text, found, misshapen)));
        std::vector<std::int64_t> shape;
        std::istringstream extents(found[2]);
        for (std::string extent; std::getline(extents, extent, ',');) shape.push_back(std::stoll(extent));
        add(found[1], std::move(shape));
      }
    }
  }

  std::span<const CheckpointTensor> tensors() const override { return tensors_; }
  std::span<const UnsupportedTensor> unsupported() const override { return {}; }
  const std::string& source() const override { return source_; }
  const std::string& part() const override { return part_; }
  void rename(const std::string& source) { source_ = source; }

 private:
  void add(const std::string& name, std::vector<std::int64_t> shape) {
    std::size_t bytes = 2;
    for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
    zeros_.resize(std::max(zeros_.size(), bytes));
    std::erase_if(tensors_, [&](const CheckpointTensor& t) { return t.name == name; });
    const auto at = std::ranges::lower_bound(tensors_, name, {}, &CheckpointTensor::name);
    tensors_.insert(at, {name, DType::bf16, std::move(shape), {}});
    for (CheckpointTensor& tensor : tensors_) {
      std::size_t size = 2;
      for (const std::int64_t extent : tensor.shape) size *= static_cast<std::size_t>(extent);
      tensor.bytes = std::span(zeros_).first(size);
    }
  }

  std::vector<CheckpointTensor> tensors_;
  std::vector<std::byte> zeros_;
  std::string source_ = "x.pth", part_;
};

TEST_CASE("one set of tensors, two graphs: the error lists both; --arch chooses, or the file's name") {
  ZeroTensors nano(kDFineFiles, "d-fine-n", "decoder.decoder.layers.0.gateway.gate.weight");
  const std::string refusal = testing::message_of(Error::Code::weights, [&] { describe_checkpoint(nano, ""); });
  CHECK(refusal == "x.pth: may be any of: d-fine-n, deim-n; name one (Options::architecture, --arch)");
  CHECK(describe_checkpoint(nano, "deim-n").config.string("head_activation_function") == "silu");
  CHECK(describe_checkpoint(nano, "d-fine-n").config.string("head_activation_function") == "relu");
  for (const char* source : {"dfine_n_coco.pth", "models/DFINE-N.pth", "dfine_n/model.safetensors"}) {
    CAPTURE(source);
    nano.rename(source);
    CHECK(describe_checkpoint(nano, "").architecture == "d-fine-n");
  }
  nano.rename("deim_hgnetv2_n_coco_160e.pth");
  CHECK(describe_checkpoint(nano, "").architecture == "deim-n");
  nano.rename("deim_dfine_hgnetv2_n_coco_160e.pth");  // both
  CHECK(contains(testing::message_of(Error::Code::weights, [&] { describe_checkpoint(nano, ""); }), "may be any of"));
}

TEST_CASE("a checkpoint of no known family is refused") {
  const auto checkpoint = open_checkpoint(std::filesystem::path(VISTAZO_TEST_DATA) / "torch" / "new.pth");
  const std::string refusal = testing::message_of(Error::Code::weights, [&] { describe_checkpoint(*checkpoint, ""); });
  CHECK(contains(refusal, "its tensors are not called as those of a family that goes without"));
}

TEST_CASE("name rules: stars, the rest of a name, cuts and omissions") {
  constexpr std::array rules{NameRule{"a.*.b", "x.*.y"},    NameRule{"a.**", "rest.**"},
                             NameRule{"qkv_*.in", "never"}, NameRule{"in.*.w", "{q,k,v}.*.w"},
                             NameRule{"skip.*", ""},        NameRule{"gap.*", "{q,,v}.*"}};
  using Names = std::vector<std::string>;
  CHECK(rename(rules, "a.7.b") == Names{"x.7.y"});
  CHECK(rename(rules, "a.7.8.b") == Names{"rest.7.8.b"});
  CHECK(rename(rules, "in.0.w") == Names{"q.0.w", "k.0.w", "v.0.w"});
  CHECK(rename(rules, "in.{,}.w") == Names{"q.{,}.w", "k.{,}.w", "v.{,}.w"});
  CHECK(rename(rules, "skip.me") == Names{});
  CHECK(rename(rules, "gap.w") == Names{"q.w", "", "v.w"});
  for (const char* unknown : {"", "a", "b.7", "in.0", "in.0.w.x", "qkv_1.in", "skip"}) {
    CAPTURE(unknown);
    CHECK(!rename(rules, unknown));
  }
}

Options exact() {
  Options options;
  options.device = Device::cpu;
  options.precision = Precision::f32;
  return options;
}

RawOutputs outputs_of(const std::filesystem::path& model, const FloatTensor& pixels) {
  return Detector::load(model, exact())
      .forward(pixels.values, static_cast<int>(pixels.shape[0]), static_cast<int>(pixels.shape[2]),
               static_cast<int>(pixels.shape[3]));
}

TEST_CASE("convert: a folder with Hugging Face's names gives the same outputs, bit by bit") {
  for (const char* name : {"w2_original", "w1_rect", "p3p5", "seg", "w2_huggingface", "seg_huggingface"}) {
    CAPTURE(name);
    const testing::TemporaryFolder folder;
    const std::filesystem::path source = kModels / name, target = folder.path() / "new" / "model";
    const Conversion conversion = convert_model(source, target);
    CHECK(conversion.family == "rf_detr");
    CHECK(conversion.tensors >= read_tensor_file(source / "model.safetensors").size());
    CHECK(Detector::load(target, exact()).info().dialect == "huggingface");
    const FloatTensor pixels = read_tensor_file(source / "io.safetensors").at("pixel_values");
    const RawOutputs before = outputs_of(source, pixels), after = outputs_of(target, pixels);
    CHECK(before.logits == after.logits);
    CHECK(before.boxes == after.boxes);
    CHECK(contains(testing::message_of(Error::Code::argument, [&] { convert_model(source, target); }),
                   "already has a config.json; name a new folder"));
  }
}

TEST_CASE("convert: another type, other class names") {
  const testing::TemporaryFolder folder;
  for (const Precision dtype : {Precision::f32, Precision::bf16}) {
    const std::filesystem::path target = folder.path() / (dtype == Precision::f32 ? "f32" : "bf16");
    ConvertOptions options;
    options.dtype = dtype;
    options.class_names = {"a", "b", "c", "d", "e"};
    convert_model(kModels / "w2_original", target, options);
    const Detector detector = Detector::load(target, exact());
    CHECK(detector.info().class_names == options.class_names);
    for (const TensorInfo& tensor : detector.info().tensors) {
      CHECK(tensor.dtype == (dtype == Precision::f32 ? "f32" : "bf16"));
    }
  }
  ConvertOptions wrong;
  wrong.class_names = {"a"};
  CHECK(contains(testing::message_of(Error::Code::argument,
                                     [&] { convert_model(kModels / "w2_original", folder.path() / "x", wrong); }),
                 "1 class names are given; the model has 5 classes"));
  // f16 in, f32 out loses nothing.
  const FloatTensor pixels = read_tensor_file(kModels / "w2_original" / "io.safetensors").at("pixel_values");
  CHECK(outputs_of(kModels / "w2_original", pixels).logits == outputs_of(folder.path() / "f32", pixels).logits);
}

}  // namespace
}  // namespace vistazo
