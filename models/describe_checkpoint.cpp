#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/no_store.h"
#include "engine/weight_cursor.h"
#include "kernels/base/error.h"
#include "models/registry.h"
#include "weights/printable.h"

// Which published size a checkpoint without config.json is. Nothing is guessed from single shapes: a size fits if a
// model that is read as its config says finds every tensor with the shape it wants and leaves none unread. Where that
// leaves several, the file's name may decide.
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

// Runs of letters and digits, in small letters.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words{""};
  for (const char c : text) {
    const bool is_part = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (is_part) {
      words.back() += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

// How many words of an architecture's name are there in the file's; 0 if one is not. rtdetrv2-r18-dsp is in
// rtdetrv2_r18vd_dsp_3x_coco.pth: longer words may go on, as authors write more.
std::size_t words_in(std::string_view architecture, const std::vector<std::string>& file) {
  std::vector<std::string> wanted = words_of(architecture);
  if (wanted.size() > 2 && wanted[0] == "d") wanted = {wanted[0] + wanted[1], wanted[2]};  // d-fine-s: dfine_s
  const auto is_there = [&](const std::string& word) {
    return std::ranges::any_of(file,
                               [&](const std::string& w) { return word.size() > 1 ? w.starts_with(word) : w == word; });
  };
  return std::ranges::all_of(wanted, is_there) ? wanted.size() : 0;
}

// Of sizes that the tensors do not tell apart, the one that the file or its folder is called after; else all.
void keep_named(std::vector<Description>& fitting, const std::filesystem::path& path) {
  const std::vector<std::string> words = words_of((path.parent_path().filename() / path.stem()).string());
  std::vector<std::size_t> counts;
  for (const Description& d : fitting) counts.push_back(words_in(d.architecture, words));
  const auto most = std::ranges::max_element(counts);
  if (*most == 0 || std::ranges::count(counts, *most) != 1) return;
  Description named = std::move(fitting[static_cast<std::size_t>(most - counts.begin())]);
  fitting.clear();
  fitting.push_back(std::move(named));
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
  if (fitting.size() > 1) keep_named(fitting, source);
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
