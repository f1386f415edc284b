#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/arena.h"
#include "engine/tensor.h"
#include "engine/weight_store.h"
#include "kernels/activation.h"
#include "kernels/add_mean.h"
#include "kernels/attention.h"
#include "kernels/boxes.h"
#include "kernels/clamp.h"
#include "kernels/convolution.h"
#include "kernels/deformable_attention.h"
#include "kernels/depth_to_space.h"
#include "kernels/detections.h"
#include "kernels/distribution.h"
#include "kernels/elementwise.h"
#include "kernels/gates.h"
#include "kernels/image_resize.h"
#include "kernels/layer_norm.h"
#include "kernels/linear.h"
#include "kernels/logit_boxes.h"
#include "kernels/map_resize.h"
#include "kernels/pooling.h"
#include "kernels/rms_norm.h"
#include "kernels/rows.h"
#include "kernels/sine_embedding.h"
#include "kernels/top_k.h"

namespace vistazo {

struct GridSize {
  int height = 0, width = 0;
  int area() const { return height * width; }
};

// Names work that is the same whenever the name is: a model, its weights and its input's size decide every step of it.
struct PassKey {
  int kind = 0;  // the caller's: what it does with the model's outputs
  int batch = 0, height = 0, width = 0;
  int chosen_for = 0;  // the batch that kernels are chosen for, kernels/base/batch_plan.h; 0 for the pass's own
  bool operator==(const PassKey&) const = default;
};

// How long one operation took, on its device.
struct OpTime {
  const char* op;
  std::array<std::int64_t, 3> sizes;  // whatever says most of the operation: rows and widths of a product, ...
  double milliseconds;
};

// What a convolution does with its sums; see kernels/convolution.h.
struct ConvolutionEpilogue {
  Activation activation = Activation::none;
  bool accumulate = false;  // y as it was is added before the activation
  float post_scale = 1, post_bias = 0;
};

// Rotary positions of attention's queries and keys; see kernels/rope.h.
struct Rope {
  Tensor table;    // (N - prefix, D) f32
  int prefix = 0;  // tokens at the start that have none
};

// The vocabulary that models are written in. The public methods check shapes, once for every backend, take the result's
// memory from the arena and describe the work in the kernel's argument struct; a backend only runs that struct.
// A result lives until the innermost scope() that was open when it was made is left.
class Ops {
 public:
  virtual ~Ops() = default;
  Ops(const Ops&) = delete;
  Ops& operator=(const Ops&) = delete;

  // Of what goes into and comes out of matrix products: f32, f16 or bf16.
  DType dtype() const { return dtype_; }
  // Of a trunk's residual stream: f32, or dtype() where its bytes are what takes the time. Other streams are f32.
  DType residual_dtype() const { return residual_dtype_; }

  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), used_(arena.used()) {}
    ~Scope() { arena_.release_to(used_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    std::size_t used_;
  };
  [[nodiscard]] Scope scope() { return Scope(arena_); }
  Tensor empty(const Shape& shape, DType dtype);

  // An f32 tensor that depends on nothing but the input's size: made once per size, kept on the device.
  template <typename Fill>
  Tensor constant(std::string_view name, GridSize input, const Shape& shape, Fill&& fill) {
    if (const Tensor* known = find_constant(name, input)) return *known;
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    fill(std::span<float>(values));
    return add_constant(name, input, shape, values);
  }

  // What a pass leaves behind for its caller, in the arena.
  using PassResults = std::array<Tensor, 2>;
  // Runs `pass` and returns what it returns. A backend may record the operations and replay them when the same key
  // comes with the arena as it was: `pass` does nothing else, and gets its inputs from the arena.
  virtual PassResults run_pass(const PassKey&, const std::function<PassResults()>& pass) { return pass(); }

  // Runs `work` and waits for it; the time that the device took from its first operation to its last.
  virtual double milliseconds_of(const std::function<void()>& work) = 0;
  // Runs a pass and times each of its operations alone. They may run more than once: the pass's results mean nothing.
  std::vector<OpTime> profile(const std::function<void()>& pass);

  // Fills part of a tensor of pixels from an image in host memory, or the device's; args.scratch is the backend's
  // business.
  void place_image(const ImageResizeArgs& args, bool is_on_device) { place(args, is_on_device); }
  // Between dense f32 tensors of the device and host memory.
  void upload(std::span<const float> from, const Tensor& to);
  void download(const Tensor& from, std::span<float> to);

  // x (..., in) -> (..., out). Into dtype(), or into f32.
  Tensor linear(const Tensor& x, const Linear& w, Activation activation = Activation::none);
  Tensor linear_f32(const Tensor& x, const Linear& w);
  void linear_into(const Tensor& x, const Linear& w, const Tensor& y);
  // y (..., out) += x W^T + b; y in dtype() or f32.
  void linear_add(const Tensor& x, const Linear& w, const Tensor& y);
  // x (B, H, W, in) -> (B, H', W', out), dtype(), or into y of dtype() or f32. Both may be slices of channels.
  Tensor convolution(const Tensor& x, const Convolution& w, const ConvolutionEpilogue& epilogue = {});
  void convolution_into(const Tensor& x, const Convolution& w, const Tensor& y,
                        const ConvolutionEpilogue& epilogue = {});
  // The same of pixels (B, in, H, W) f32, which go through channels_last() where the backend's kernel reads no planes.
  Tensor convolution_of_pixels(const Tensor& pixels, const Convolution& w, const ConvolutionEpilogue& epilogue = {});
  // x (B, H, W, C) -> (B, H', W', C), or into y; both may be slices of channels. See kernels/pooling.h.
  Tensor pooling(const Tensor& x, Pooling kind, const PoolingWindow& window);
  void pooling_into(const Tensor& x, Pooling kind, const PoolingWindow& window, const Tensor& y);
  // x (B, H, W, C) into y (B, H', W', C), to y's size; both may be slices of channels. See kernels/map_resize.h.
  void resize_into(const Tensor& x, MapInterpolation interpolation, const Tensor& y);
  // pixels (B, C, H, W) f32 -> (B, H, W, C), dtype().
  Tensor channels_last(const Tensor& pixels);
  // x (B, H, W, 4 * C) with its last dimension as (2, 2, C) -> (B, 2H, 2W, C), dtype().
  Tensor depth_to_space(const Tensor& x);

  // Over the last dimension -> dtype(), or into y of any dtype and row stride.
  Tensor layer_norm(const Tensor& x, const Norm& w, Activation activation = Activation::none);
  void layer_norm_into(const Tensor& x, const Norm& w, const Tensor& y, Activation activation = Activation::none);
  // The patches' rows of x (B, grid.tokens(), C) -> y (B, grid.height, grid.width, C), a slice of columns perhaps.
  void layer_norm_to_grid(const Tensor& x, const Norm& w, const WindowGrid& grid, const Tensor& y);
  // y = the norm of y, in place, f32; -> y, or y + addend (dtype(), of y's shape), in dtype(), for products.
  Tensor layer_norm_for(const Tensor& y, const Norm& w, const Tensor* addend = nullptr);
  // The same without a mean and a bias.
  void rms_norm_into(const Tensor& x, const Norm& w, const Tensor& y);
  // x (..., 2 * C) -> silu of its first half times its second (..., C), dtype(). See kernels/gates.h.
  Tensor swiglu(const Tensor& x);
  // x (..., C) f32 = sigmoid of the gates' first half * x + sigmoid of their second * added; gates (..., 2 * C) f32.
  void gated_sum_into(const Tensor& gates, const Tensor& added, const Tensor& x);

  // q (B, Nq, H * D), k (B, Nk, H * D), v (B, Nk, H * Dv) -> (B, Nq, H * Dv), dtype(); column slices are welcome. With
  // a rope q and k are of the same tokens.
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads, const Rope* rope = nullptr);
  // value (B, sum of areas, H * D), reference (B, Q, 4) f32, offset_logits (B, Q, H * sum of points * 3) f32
  // -> (B, Q, H * D), dtype(). points: samples of a head in each level. See kernels/deformable_attention.h.
  Tensor deformable_attention(const Tensor& value, std::span<const GridSize> levels, const Tensor& reference,
                              const Tensor& offset_logits, int heads, std::span<const int> points,
                              bool takes_nearest = false);
  // boxes (B, Q, 4) f32 -> (B, Q, 4 * dim), dtype().
  Tensor sine_embedding(const Tensor& boxes, int dim, float temperature);

  // a + b, b (..., cols) repeated over a's leading rows -> dtype(), or into y of any row stride.
  Tensor add(const Tensor& a, const Tensor& b);
  void add_into(const Tensor& a, const Tensor& b, const Tensor& y);
  // a in dtype(), and a + b of a shape.
  std::array<Tensor, 2> cast_and_add(const Tensor& a, const Tensor& b);
  // x (B, N, C) + its mean over N, dtype().
  Tensor add_mean(const Tensor& x);
  // Of a dense x -> its dtype.
  Tensor activate(const Tensor& x, Activation activation);
  // In place, of a dense x.
  void clamp(const Tensor& x, float low, float high);
  // x (B, N, C), dense, in place: zero in the rows where mask (N) f32 is.
  void mask_rows(const Tensor& x, const Tensor& mask);
  // x itself where it has that dtype and is dense, else a copy.
  Tensor cast(const Tensor& x, DType dtype);
  void copy_into(const Tensor& x, const Tensor& y);
  // table (rows, cols) f32 -> (batch, rows, cols).
  Tensor repeat(const Tensor& table, int batch, DType dtype = DType::f32);

  // pixels (B, C, H, W) f32 -> (B, grid.tokens(), C * patch * patch), dtype(). See kernels/rows.h.
  Tensor patches(const Tensor& pixels, int patch, const WindowGrid& grid);
  // x (B, grid.tokens(), C) -> y (B, grid.height, grid.width, C), a slice of columns perhaps, of x's dtype.
  void windows_to_grid(const Tensor& x, const WindowGrid& grid, const Tensor& y);
  // x (B, rows, C), or (rows, C) for all of the batch; index (B, n) i32 -> (B, n, C).
  Tensor gather_rows(const Tensor& x, const Tensor& index);

  // logits (B, N, K) f32, proposals (N, 4) f32 -> (B, k) i32: the proposals whose best class scores highest.
  Tensor top_proposals(const Tensor& logits, const Tensor& proposals, int k);
  // The same where every row is a proposal.
  Tensor top_rows(const Tensor& logits, int k);
  // Whether select_detections() of so many runs here. The host is as fast where it has the logits anyway.
  virtual bool can_select(int) const { return false; }
  // logits (B, Q, K), boxes (B, Q, 4), f32 -> the candidates of kernels/detections.h, B * most of them, and behind them
  // B counts, as f32 words (B * (6 * most + 1)): one download, and bytes to the host.
  Tensor select_detections(const Tensor& logits, const Tensor& boxes, float min_logit, int most);
  // reference (B, Q, 4), delta (B, Q, 4) or (Q, 4), all f32 -> (B, Q, 4) f32. See kernels/boxes.h.
  Tensor refine_boxes(const Tensor& reference, const Tensor& delta);
  void refine_boxes_into(const Tensor& reference, const Tensor& delta, const Tensor& y);
  // sigmoid(delta + logit(reference)), or + reference where that holds logits. delta (B, Q, 4) f32, reference alike or
  // (Q, 4) -> (B, Q, 4) f32. See kernels/logit_boxes.h.
  Tensor logit_boxes(const Tensor& reference, const Tensor& delta, bool reference_is_logits = false);
  // logits (B, Q, 4 * bins) f32, weights (bins) f32, reference (B, Q, 4) f32 -> (B, Q, 4) f32. See
  // kernels/distribution.h.
  Tensor edge_boxes(const Tensor& logits, const Tensor& weights, const Tensor& reference, float scale);
  // logits (B, Q, 4 * bins) f32 -> (B, Q, 4 * (k + 1)), dtype().
  Tensor edge_peaks(const Tensor& logits, int bins, int k);

 protected:
  Ops(DType dtype, DType residual_dtype, Arena arena) : arena_(arena), dtype_(dtype), residual_dtype_(residual_dtype) {}

  // Runs the operation that `work` is, timed where a profile is being taken. For run() of backends that can be
  // profiled.
  template <typename Work>
  void perform(const char* op, const std::array<std::int64_t, 3>& sizes, Work&& work) {
    if (!profile_) return work();
    profile_->push_back({op, sizes, milliseconds_alone(std::ref(work))});
  }

  Arena arena_;

 private:
  Tensor top_of(const Tensor& logits, const float* proposals, int k);

  friend class CostOps;  // asks its target what the target's kernels take

  // What one of several runs of `work` takes, one behind the other.
  virtual double milliseconds_alone(const std::function<void()>& work) { return milliseconds_of(work); }

  // Null where the backend does not have it yet.
  virtual const Tensor* find_constant(std::string_view name, GridSize input) const = 0;
  virtual Tensor add_constant(std::string_view name, GridSize input, const Shape& shape,
                              std::span<const float> values) = 0;
  virtual bool reads_planes(const ConvolutionShape&) const { return false; }
  virtual std::size_t scratch_bytes(const AttentionArgs& args) const = 0;
  virtual std::size_t scratch_bytes(const TopKArgs& args) const = 0;
  virtual std::size_t scratch_bytes_of_selection(const SelectDetectionsArgs&) const { return 0; }

  virtual void copy_to_device(const float* from, float* to, std::size_t count) = 0;
  virtual void copy_to_host(const float* from, float* to, std::size_t count) = 0;
  virtual void select(const SelectDetectionsArgs&) {}  // where can_select() says so
  virtual void place(const ImageResizeArgs& args, bool is_on_device) = 0;
  virtual void run(const LinearArgs& args, const Linear& w) = 0;
  virtual void run(const ConvolutionArgs& args, const Convolution& w) = 0;
  virtual void run(const LayerNormArgs& args) = 0;
  virtual void run(const RmsNormArgs& args) = 0;
  virtual void run(const SwigluArgs& args) = 0;
  virtual void run(const GatedSumArgs& args) = 0;
  virtual void run(const AttentionArgs& args) = 0;
  virtual void run(const DeformableAttentionArgs& args) = 0;
  virtual void run(const SineEmbeddingArgs& args) = 0;
  virtual void run(const AddArgs& args) = 0;
  virtual void run(const AddMeanArgs& args) = 0;
  virtual void run(const ActivationArgs& args) = 0;
  virtual void run(const ClampArgs& args) = 0;
  virtual void run(const MaskRowsArgs& args) = 0;
  virtual void run(const PatchesArgs& args) = 0;
  virtual void run(const WindowsToGridArgs& args) = 0;
  virtual void run(const DepthToSpaceArgs& args) = 0;
  virtual void run(const PoolingArgs& args) = 0;
  virtual void run(const MapResizeArgs& args) = 0;
  virtual void run(const GatherRowsArgs& args) = 0;
  virtual void run(const ProposalScoresArgs& args) = 0;
  virtual void run(const TopKArgs& args) = 0;
  virtual void run(const RefineBoxesArgs& args) = 0;
  virtual void run(const LogitBoxesArgs& args) = 0;
  virtual void run(const EdgeBoxesArgs& args) = 0;
  virtual void run(const EdgePeaksArgs& args) = 0;

  DType dtype_, residual_dtype_;
  std::vector<OpTime>* profile_ = nullptr;
};

}  // namespace vistazo
