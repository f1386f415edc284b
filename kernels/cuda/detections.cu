// The best logits of each image, selected as top_k does for long rows: blocks take slices of an image's logits, drop
// what is below min_logit as they read, and leave the best of each slice to a last block, which ranks them and fetches
// their boxes. Limited by the barriers of two launches.
#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/select.cuh"
#include "kernels/detections.h"

namespace vistazo::cuda {
namespace {

struct SelectDetectionsLaunch {
  SelectDetectionsArgs args;
  SelectStage stage;
};

template <int kPerThread>
__global__ void __launch_bounds__(kSelectThreads)
    select_detections_kernel(const __grid_constant__ SelectDetectionsLaunch launch) {
  dependent_launch();
  __shared__ SelectStorage storage;
  const SelectDetectionsArgs& args = launch.args;
  const SelectStage& stage = launch.stage;
  const auto [image, slice] = divide(blockIdx.x, stage.slices);
  const float* logits = args.logits + image * args.queries * args.classes;
  std::uint64_t words[kPerThread];
  load_words(words, stage, image, slice, [&](std::int64_t place) {
    const float logit = logits[place];
    return logit >= args.min_logit ? candidate_word(logit, static_cast<std::int32_t>(place)) : 0;  // false for NaN
  });
  const int found = select_largest(words, stage.wanted, storage);
  if (stage.out != nullptr) return store_list(stage, found, storage);
  if (threadIdx.x == 0) args.count[image] = min(found, stage.wanted);
  rank_list(storage, found, stage.wanted, [&](int rank, std::uint64_t word) {
    const std::int32_t index = index_of_candidate(word);
    const float* box = args.boxes + (image * args.queries + index / args.classes) * 4;
    args.candidates[image * args.max_detections + rank] = {logits[index], index, {box[0], box[1], box[2], box[3]}};
  });
}

std::int64_t pairs(const SelectDetectionsArgs& args) {
  return std::int64_t{args.queries} * args.classes;
}

int wanted(const SelectDetectionsArgs& args) {
  return static_cast<int>(std::min<std::int64_t>(args.max_detections, pairs(args)));
}

void check(const SelectDetectionsArgs& args) {
  if (args.batch < 0 || args.queries < 1 || args.classes < 1 || args.max_detections < 1 || pairs(args) > INT32_MAX) {
    fail(Error::Code::argument, "select_detections: batch {}, {} queries, {} classes, max_detections {}", args.batch,
         args.queries, args.classes, args.max_detections);
  }
  if (wanted(args) > kMostWanted) {
    fail(Error::Code::unsupported, "select_detections: max_detections {}; at most {} are built", args.max_detections,
         kMostWanted);
  }
}

}  // namespace

std::size_t select_detections_scratch_bytes(const SelectDetectionsArgs& args) {
  check(args);
  return select_scratch_bytes(pairs(args), args.batch, wanted(args));
}

void select_detections(const SelectDetectionsArgs& args, CudaStream stream) {
  check(args);
  if (args.batch == 0) return;
  const auto run = [&](const SelectStage& stage) {
    const bool is_short = stage.count <= kFewPerThread * kSelectThreads;
    launch("select_detections",
           is_short ? select_detections_kernel<kFewPerThread> : select_detections_kernel<kMostPerThread>,
           std::int64_t{args.batch} * stage.slices, kSelectThreads, 0, stream, SelectDetectionsLaunch{args, stage});
  };
  run_select_stages(pairs(args), args.batch, wanted(args), args.scratch, run, run);
}

}  // namespace vistazo::cuda
