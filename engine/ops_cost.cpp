#include "engine/ops_cost.h"

namespace vistazo {
namespace {

double bytes_of(double elements, DType dtype) {
  return elements * static_cast<double>(size_of(dtype));
}

double as_double(std::int64_t value) {
  return static_cast<double>(value);
}

}  // namespace

CostOps::CostOps(const Ops& target)
    : Ops(target.dtype(), target.residual_dtype(), Arena::counting()), target_(target) {}

Cost CostOps::cost() const {
  Cost cost = cost_;
  cost.peak_scratch_bytes = arena_.peak();
  return cost;
}

// Constants are not scratch. A null result makes the caller compute the values, so the pass costs what a first one
// does.
const Tensor* CostOps::find_constant(std::string_view, GridSize) const {
  return nullptr;
}

Tensor CostOps::add_constant(std::string_view, GridSize, const Shape& shape, std::span<const float>) {
  return {reinterpret_cast<void*>(kAlignment), shape, DType::f32, shape.last()};
}

bool CostOps::reads_planes(const ConvolutionShape& shape) const {
  return target_.reads_planes(shape);
}
std::size_t CostOps::scratch_bytes(const AttentionArgs& args) const {
  return target_.scratch_bytes(args);
}
std::size_t CostOps::scratch_bytes(const TopKArgs& args) const {
  return target_.scratch_bytes(args);
}

void CostOps::run(const LinearArgs& args, const Linear& w) {
  const double rows = as_double(args.rows), in = w.in, out = w.out;
  count(2 * rows * in * out,
        bytes_of(rows * in + in * out, dtype()) + bytes_of(rows * out, args.y_dtype) * (args.accumulate ? 2 : 1));
}

void CostOps::run(const ConvolutionArgs& args, const Convolution& w) {
  const ConvolutionShape& s = w.shape;
  const double pixels = as_double(args.batch) * s.out_height(args.height) * s.out_width(args.width);
  const double weights = as_double(s.out_channels) * (s.in_channels / s.groups) * s.kernel_height * s.kernel_width;
  const double inputs = as_double(args.batch) * args.height * args.width * s.in_channels;
  count(2 * pixels * weights, bytes_of(inputs, args.is_x_planar ? DType::f32 : dtype()) + bytes_of(weights, dtype()) +
                                  bytes_of(pixels * s.out_channels, args.y_dtype) * (args.accumulate ? 2 : 1));
}

void CostOps::run(const LayerNormArgs& args) {
  const double elements = as_double(args.rows) * args.cols;
  const int extras = (args.extra ? 1 : 0) + (args.addend ? 1 : 0);
  count(0, bytes_of(elements, args.x_dtype) + bytes_of(elements, args.y_dtype) +
               bytes_of(elements * extras, args.extra_dtype));
}

void CostOps::run(const AttentionArgs& args) {
  const double groups = as_double(args.batch) * args.heads;
  const double width = args.head_dim + args.value_dim;
  count(2 * groups * args.queries * args.keys * width,
        bytes_of(groups * (as_double(args.queries) + args.keys) * width, args.dtype));
}

void CostOps::run(const DeformableAttentionArgs& args) {
  const double samples = as_double(args.batch) * args.queries * args.heads * args.head_samples();
  const double outputs = as_double(args.batch) * args.queries * args.heads * args.head_dim;
  // Four corners of a sample, each a multiplication and an addition, then the weighted sum.
  count(samples * args.head_dim * 10, bytes_of(samples * args.head_dim * 4 + outputs, args.dtype) + samples * 3 * 4);
}

void CostOps::run(const SineEmbeddingArgs& args) {
  count(0, as_double(args.rows) * (16 + bytes_of(4 * args.dim, args.y_dtype)));
}

void CostOps::run(const AddArgs& args) {
  const double elements = as_double(args.rows) * args.cols;
  count(0, bytes_of(elements, args.a_dtype) + bytes_of(elements, args.y_dtype) * (args.a_copy ? 2 : 1) +
               (args.b ? bytes_of(as_double(args.b_rows) * args.cols, args.b_dtype) : 0));
}

void CostOps::run(const PatchesArgs& args) {
  const double elements = as_double(args.batch) * args.grid.tokens() * args.channels * args.patch * args.patch;
  count(0, bytes_of(elements, DType::f32) + bytes_of(elements, args.y_dtype));
}

void CostOps::run(const WindowsToGridArgs& args) {
  count(0, 2 * bytes_of(as_double(args.batch) * args.grid.height * args.grid.width * args.cols, args.dtype));
}

void CostOps::run(const DepthToSpaceArgs& args) {
  count(0, 8 * bytes_of(as_double(args.batch) * args.height * args.width * args.channels, args.dtype));
}

void CostOps::run(const PoolingArgs& args) {
  const double cells = as_double(args.window.out_height(args.height)) * args.window.out_width(args.width);
  const double elements = (as_double(args.height) * args.width + cells) * args.batch * args.channels;
  count(0, bytes_of(elements, args.dtype));
}

void CostOps::run(const MapResizeArgs& args) {
  const double cells = as_double(args.height) * args.width + as_double(args.out_height) * args.out_width;
  count(0, bytes_of(cells * args.batch * args.channels, args.dtype));
}

void CostOps::run(const GatherRowsArgs& args) {
  count(0, 2 * bytes_of(as_double(args.batch) * args.rows * args.cols, args.dtype));
}

void CostOps::run(const ProposalScoresArgs& args) {
  count(0, bytes_of(as_double(args.batch) * args.rows * (args.classes + 1), DType::f32));
}

void CostOps::run(const TopKArgs& args) {
  count(0, bytes_of(as_double(args.rows) * (args.cols + args.k), DType::f32));
}

void CostOps::run(const RefineBoxesArgs& args) {
  count(0, as_double(args.rows) * 3 * 16);
}

void CostOps::run(const RmsNormArgs& args) {
  const double elements = as_double(args.rows) * args.cols;
  count(0, bytes_of(elements, args.x_dtype) + bytes_of(elements, args.y_dtype));
}

void CostOps::run(const SwigluArgs& args) {
  count(0, 3 * bytes_of(as_double(args.rows) * args.cols, args.dtype));
}

void CostOps::run(const GatedSumArgs& args) {
  const double elements = as_double(args.rows) * args.cols;
  count(0, 4 * bytes_of(elements, DType::f32) + bytes_of(elements, args.b_dtype));
}

void CostOps::run(const AddMeanArgs& args) {
  count(0, 2 * bytes_of(as_double(args.batch) * args.tokens * args.cols, args.dtype));
}

void CostOps::run(const ActivationArgs& args) {
  count(0, 2 * bytes_of(as_double(args.count), args.dtype));
}

void CostOps::run(const ClampArgs& args) {
  count(0, 2 * bytes_of(as_double(args.count), args.dtype));
}

// Few rows are masked.
void CostOps::run(const MaskRowsArgs& args) {
  count(0, bytes_of(as_double(args.batch) * args.rows, DType::f32));
}

void CostOps::run(const LogitBoxesArgs& args) {
  count(0, as_double(args.rows) * 3 * 16);
}

void CostOps::run(const EdgeBoxesArgs& args) {
  count(0, as_double(args.edges.rows) * (bytes_of(4 * args.edges.bins, DType::f32) + 2 * 16));
}

void CostOps::run(const EdgePeaksArgs& args) {
  const double edges = 4 * as_double(args.edges.rows);
  count(0, bytes_of(edges * args.edges.bins, DType::f32) + bytes_of(edges * (args.k + 1), args.y_dtype));
}

}  // namespace vistazo
