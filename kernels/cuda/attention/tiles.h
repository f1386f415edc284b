#pragma once

#include <array>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/base/stream.h"

// What the launcher of attention and its kernels share.
namespace vistazo::cuda {

// How rows of an operand are copied to shared memory; a warp-uniform choice.
enum class RowCopy : std::uint8_t {
  bytes16,   // every row of every head starts at a multiple of 16 bytes
  bytes4,    // of 4 bytes, and holds a multiple of 4 bytes
  elements,  // one by one
};

struct AttentionLaunch {
  AttentionArgs args;
  int query_tiles;    // of one (batch entry, head); block i does tile i % query_tiles of pair i / query_tiles
  float scale_log2;   // |scale| * log2(e), at least the smallest normal number: -infinity times it stays that
  bool is_q_negated;  // the sign of scale
  RowCopy q_copy, k_copy, v_copy;
  bool are_pairs_stored;  // out rows start at multiples of 4 bytes and hold a multiple of 4 bytes
};

// How the work is divided on Hopper; above dimension 64 always with 2 consumers and no split.
struct Sm90Choice {
  int consumers;  // of a block: 1 to 4 warpgroups of 64 queries
  int split;      // blocks that divide the keys of the same queries, 1 to 8; 1 with 4 consumers
  int multiprocessors;
  bool is_paired = false;  // sm90_pair.cu instead, where consumers and split mean nothing
};

// Checks the arguments and finds how operands may be read. Throws Error{unsupported}.
AttentionLaunch make_attention_launch(const AttentionArgs& args);
// Whether sm90.cu and sm90_pair.cu can run it: 16-bit elements, every row at a multiple of 16 bytes, strides that are
// positive, dimensions that are multiples of 8, a scale that is not negative.
bool suits_sm90(const AttentionLaunch& launch);

// Divisions of the work on Hopper that are considered, each with the time that a model of it gives. The pairs come
// last.
struct Sm90Estimate {
  Sm90Choice choice;
  double microseconds;
};
std::array<Sm90Estimate, 5> estimate_sm90(const AttentionArgs& args, int multiprocessors);
// The one with the least time.
Sm90Choice choose_sm90(const AttentionArgs& args, int multiprocessors);

// As args.rope says, in place.
void rotate_queries_and_keys(const AttentionArgs& args, CudaStream stream);

// The kernels, one per architecture and arithmetic. `launch.query_tiles` is theirs to fill in.
void attention_sm90(const AttentionLaunch& launch, const Sm90Choice& choice, CudaStream stream);  // f16, bf16: wgmma
void attention_sm90_pair(const AttentionLaunch& launch, CudaStream stream);                       // dimensions up to 64
void attention_sm80(AttentionLaunch launch, CudaStream stream);  // f16, bf16: tensor cores
void attention_f32(AttentionLaunch launch, CudaStream stream);   // f32: no TF32

}  // namespace vistazo::cuda
