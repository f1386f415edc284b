#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "engine/no_store.h"
#include "engine/weight_cursor.h"
#include "kernels/base/error.h"
#include "models/registry.h"
#include "weights/printable.h"

// Which published size a checkpoint without config.json is. Nothing is guessed from single shapes: a size fits if a
// model that is read as its config says finds every tensor with the shape it wants and leaves none unread.
namespace vistazo {
namespace {

struct Attempt {
  std::string problem;          // empty: it fits
  std::int64_t parameters = 0;  // read before the problem appeared
};

Attempt try_reading(const Description& description, const Checkpoint& checkpoint) {
  NoStore store;
  WeightReader reader(checkpoint, store);
  try {
    make_model(description.config, reader);
  } catch (const Error& error) {
    return {error.what(), reader.parameters()};
  }
  return {"", reader.parameters()};
}

std::vector<std::string_view> architectures_of(std::span<const OriginalFiles* const> files) {
  std::vector<std::string_view> names;
  for (const OriginalFiles* f : files) names.insert(names.end(), f->architectures.begin(), f->architectures.end());
  return names;
}

Description describe_named(std::span<const OriginalFiles* const> files, const Checkpoint& checkpoint,
                           std::string_view architecture) {
  for (const OriginalFiles* f : files) {
    if (std::ranges::find(f->architectures, architecture) == f->architectures.end()) continue;
    return f->describe(architecture, checkpoint, true);
  }
  fail(Error::Code::argument, "Options: architecture (--arch) is {}; one of these is wanted: {}",
       in_quotes(architecture), fmt::join(architectures_of(files), ", "));
}

Description find_fitting(std::span<const OriginalFiles* const> files, const Checkpoint& checkpoint) {
  const std::string& source = checkpoint.source();
  std::vector<Description> fitting;
  std::string nearest;
  std::int64_t most_parameters = -1;
  for (const OriginalFiles* f : files) {
    for (const std::string_view architecture : f->architectures) {
      Description description = f->describe(architecture, checkpoint, false);
      const Attempt attempt = try_reading(description, checkpoint);
      if (attempt.problem.empty()) {
        fitting.push_back(std::move(description));
      } else if (attempt.parameters > most_parameters) {
        most_parameters = attempt.parameters;
        nearest = fmt::format("{} is nearest, but {}", architecture, attempt.problem);
      }
    }
  }
  if (fitting.empty()) {
    fail(Error::Code::weights,
         "{}: has no config.json beside it and is none of the published sizes ({}): {}; give it its config.json, or "
         "name the size that it was trained from (Options::architecture, --arch)",
         source, fmt::join(architectures_of(files), ", "), nearest);
  }
  if (fitting.size() > 1) {
    std::vector<std::string_view> names;
    for (const Description& d : fitting) names.push_back(d.architecture);
    fail(Error::Code::weights, "{}: may be any of: {}; name one (Options::architecture, --arch)", source,
         fmt::join(names, ", "));
  }
  return std::move(fitting.front());
}

}  // namespace

Description describe_checkpoint(const Checkpoint& checkpoint, std::string_view architecture) {
  std::vector<const OriginalFiles*> known, recognised;
  for (const Family& family : families()) {
    if (!family.original) continue;
    known.push_back(family.original);
    if (family.original->recognises(checkpoint)) recognised.push_back(family.original);
  }
  if (!architecture.empty()) return describe_named(known, checkpoint, architecture);
  if (recognised.empty()) {
    fail(Error::Code::weights,
         "{}: has no config.json beside it, and its tensors are not called as those of a family that goes without: {}",
         checkpoint.source(), fmt::join(architectures_of(known), ", "));
  }
  return find_fitting(recognised, checkpoint);
}

std::optional<std::vector<std::string>> huggingface_names(std::string_view model_type, const Checkpoint& checkpoint,
                                                          std::string_view name) {
  const auto family = std::ranges::find(families(), model_type, &Family::model_type);
  if (family == families().end() || !family->original || !family->original->huggingface_names) return {};
  return family->original->huggingface_names(checkpoint, name);
}

}  // namespace vistazo
