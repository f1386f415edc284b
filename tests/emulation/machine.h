#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <span>

// A machine of the host that runs the project's CUDA kernels as they stand, compiled as C++, so that their indexing and
// their synchronisation are tested where there is no GPU. A thread of a kernel is a fiber; what it calls of CUDA and of
// kernels/cuda/ptx/ is found in include/ beside this file and ends up in the functions below.
//
// It is meaner than a GPU where that finds errors: bulk copies arrive as late as they may or at random, warps drift
// apart, products of a warpgroup and cp.async copies take place in the wait for them, dynamic shared memory starts as
// NaN and is guarded behind its end. A block in which nobody can go on, lanes that meet at different instructions, more
// arrivals than a barrier counts and shared memory read from a block that has exited end the program with a message. It
// knows nothing of: time, registers, caches, memory order between threads, the order of generic and asynchronous
// accesses to shared memory, kernels that overlap.
namespace vistazo::emulation {

struct Index3 {
  unsigned x, y, z;
};

struct Grid {
  unsigned blocks, threads, cluster;
  std::size_t shared_bytes;
};

// Runs the kernel for every thread of the grid; returns when all have finished.
void run_grid(const Grid& grid, const std::function<void()>& kernel);

// Of the thread that calls.
const Index3& thread_index();
const Index3& block_index();
const Index3& block_size();
const Index3& grid_size();
int lane();
int cluster_rank();
int cluster_blocks();

// Ends the program: the kernel is wrong. Says which thread of which block.
[[noreturn]] void fail(const char* what);

// Lets others run until the condition is true.
void wait_until(const std::function<bool()>& condition, const char* what);

// A barrier of so many threads of the block; all of it that has not exited for 0 threads. And of the whole cluster.
void block_barrier(int barrier, int threads);
void cluster_barrier();

// What the lanes of a warp do together: `whole` runs once, when all of `lanes` that have not exited are here, on what
// each gave; null for the others. The source location is the instruction's identity.
using Lanes = std::span<void* const, 32>;
void collective(std::uint32_t lanes, void* mine, void (*whole)(Lanes),
                std::source_location where = std::source_location::current());

// Work of the copy engine: runs later, at a moment of the machine's choice, on the same block.
void run_later(std::function<void()> work);

// cp.async: copies of the calling thread, in groups, which take place in the wait for them.
void add_copy(std::function<void()> copy);
void commit_copies();
void finish_copies(int groups_left);

// wgmma: a product of 64 x 16 by 16 x columns, as one lane names it; d is the lane's part, [columns / 8][4]. Computed
// when the lanes of the warp wait for its group.
struct Product {
  float* d;
  std::uint64_t a, b;                   // descriptors
  const std::uint32_t* a_registers[4];  // of the lane, instead of a; read when the product is computed
  int columns;
  bool is_added, has_registers, is_transposed;  // the latter: b
  float (*to_float)(std::uint16_t);
};
void add_product(const Product& product);
void commit_products();
void finish_products(int groups_left);

// Dynamic shared memory of the block, the number that stands for an address in it (as far as descriptors reach), and
// the same place in another block of the cluster.
unsigned char* dynamic_memory();
std::uint32_t shared_number(const void* shared);
unsigned char* shared_at(std::uint32_t number);
void* in_block(const void* shared, int rank);

}  // namespace vistazo::emulation
