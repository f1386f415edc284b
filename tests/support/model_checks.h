#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <span>
#include <vector>

#include "tests/support/buffers.h"
#include "tests/support/stored_model.h"

// What every family's models must do, checked on folders of stored models.
namespace vistazo::testing {

// f32 outputs are those of the reference, by relative norm.
inline void check_parity(const std::filesystem::path& folder, double tolerance) {
  CAPTURE(folder.filename().string());
  const StoredOutputs stored(folder);
  const RawOutputs outputs = stored.outputs_of(load_model(folder));
  CHECK(outputs.batch == stored.side(0));
  CHECK(std::vector<std::int64_t>{outputs.batch, outputs.queries, outputs.classes} == stored.logits_shape());
  const double logits = relative_error(outputs.logits, stored.logits());
  const double boxes = relative_error(outputs.boxes, stored.boxes());
  MESSAGE(folder.filename().string() << ": relative error of logits " << logits << ", of boxes " << boxes);
  CHECK(logits < tolerance);
  CHECK(boxes < tolerance);
}

// The same of wider models, which the repository does not hold: in $VISTAZO_GOLDEN, by the start of their names.
inline void check_larger_models(std::initializer_list<const char*> families) {
  const char* root = std::getenv("VISTAZO_GOLDEN");
  if (!root) {
    MESSAGE("skipped: VISTAZO_GOLDEN names no folder");
    return;
  }
  for (const char* family : families) {
    const std::vector<std::filesystem::path> folders = folders_of(root, family);
    REQUIRE(!folders.empty());
    for (const std::filesystem::path& folder : folders) check_parity(folder, 1e-4);
  }
}

// A batch gives what its images give alone.
inline void check_batch(const std::filesystem::path& folder, double tolerance) {
  CAPTURE(folder.filename().string());
  const StoredOutputs stored(folder);
  const Detector detector = load_model(folder);
  const RawOutputs both = stored.outputs_of(detector);
  std::vector<float> logits, boxes;
  for (int i = 0; i < stored.side(0); ++i) {
    const RawOutputs single = detector.forward(stored.image(i), 1, stored.side(2), stored.side(3));
    logits.insert(logits.end(), single.logits.begin(), single.logits.end());
    boxes.insert(boxes.end(), single.boxes.begin(), single.boxes.end());
  }
  CHECK(relative_error(logits, both.logits) < tolerance);
  CHECK(relative_error(boxes, both.boxes) < tolerance);
}

// The same input gives the same bits, whatever ran in between and on any number of threads.
inline void check_repeatable(const std::filesystem::path& folder) {
  CAPTURE(folder.filename().string());
  const StoredOutputs stored(folder);
  const Detector detector = load_model(folder);
  const RawOutputs first = stored.outputs_of(detector);
  detector.forward(stored.image(1), 1, stored.side(2), stored.side(3));
  const RawOutputs second = stored.outputs_of(detector);
  const RawOutputs single = stored.outputs_of(load_model(folder, Precision::f32, 1));
  CHECK(first.logits == second.logits);
  CHECK(first.boxes == second.boxes);
  CHECK(first.logits == single.logits);
  CHECK(first.boxes == single.boxes);
}

// At least `share` of the rows stay near the reference in bf16: rounding may exchange proposals of nearly equal scores.
inline void check_bf16(const std::filesystem::path& folder, double share) {
  CAPTURE(folder.filename().string());
  const StoredOutputs stored(folder);
  RawOutputs outputs;
  try {
    outputs = stored.outputs_of(load_model(folder, Precision::bf16));
  } catch (const Error& error) {
    if (error.code != Error::Code::unsupported) throw;
    MESSAGE("skipped: " << error.what());
    return;
  }
  CHECK(stored.near_rows(outputs) >= share * outputs.batch * outputs.queries);
}

}  // namespace vistazo::testing
