#include "tests/emulation/machine.h"

#include <algorithm>
#include <array>
#include <barrier>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace vistazo::emulation {
namespace {

namespace context = boost::context;

constexpr std::size_t kStackBytes = 256 << 10;
constexpr std::size_t kSharedBytes = 227 << 10;  // what a block of compute capability 9.0 may ask for
constexpr std::size_t kGuardBytes = 1024;
constexpr int kPattern = 0xff;              // NaN in every float type
constexpr std::uint32_t kFirstNumber = 16;  // of dynamic shared memory: a multiple of 16 and of no more

// The block's own memory. Of the thread of the host, as all `__shared__` variables are: there is one for every block
// of a cluster.
alignas(1024) thread_local unsigned char dynamic_bytes[kSharedBytes + kGuardBytes];

template <typename Work>
struct Groups {
  std::deque<std::vector<Work>> committed;
  std::vector<Work> open;

  void commit() {
    committed.push_back(std::move(open));
    open.clear();
  }
};

struct Thread {
  context::fiber fiber;
  Index3 index{};
  bool has_exited = false;
  const std::function<bool()>* condition = nullptr;  // what it waits for; null if it can go on
  const char* waits_for = "";
  Groups<std::function<void()>> copies;
  Groups<Product> products;
};

struct Warp {
  std::uint32_t arrived = 0, live = 0, wanted = 0;
  unsigned generation = 0;
  std::array<void*, 32> given{};
  void (*whole)(Lanes) = nullptr;
  std::source_location where;
  bool is_asleep = false;
};

struct BlockBarrier {
  int arrived = 0, wanted = 0;
  unsigned generation = 0;
};

class Block;

// The blocks of a cluster run in turn: one runs until nothing in it can go on.
struct Cluster {
  explicit Cluster(int count) : blocks(static_cast<std::size_t>(count)), start(count), end(count) {}

  std::vector<Block*> blocks;
  std::barrier<> start, end;
  std::mutex mutex;
  std::condition_variable changed;
  int turn = 0, idle_turns = 0;
  int arrived = 0;
  unsigned generation = 0;
};

class Block {
 public:
  Block(const Grid& grid, Cluster& cluster, int rank, unsigned index, const std::function<void()>& kernel)
      : grid_(grid), cluster_(cluster), rank_(rank), index_{index, 0, 0}, random_(index) {
    std::memset(dynamic_bytes, kPattern, grid.shared_bytes + kGuardBytes);
    static thread_local context::pooled_fixedsize_stack stacks(kStackBytes);
    warps_.resize((grid.threads + 31) / 32);
    for (unsigned i = 0; i < grid.threads; ++i) {
      Thread& thread = threads_.emplace_back();
      thread.index = {i, 0, 0};
      warps_[i / 32].live |= 1u << i % 32;
      thread.fiber = context::fiber(std::allocator_arg, stacks, [this, &thread, &kernel](context::fiber&& main) {
        main_ = std::move(main);
        kernel();
        exit(thread);
        return std::move(main_);
      });
    }
    live_ = static_cast<int>(grid.threads);
  }

  void run() {
    wait_for_turn();
    while (live_ > 0) {
      bool has_progress = false;
      for (Thread& thread : threads_) {
        if (warps_[thread.index.x / 32].is_asleep) continue;
        if (thread.has_exited || (thread.condition != nullptr && !(*thread.condition)())) continue;
        thread.condition = nullptr;
        current_ = &thread;
        thread.fiber = std::move(thread.fiber).resume();
        has_progress = true;
      }
      const bool has_slept = put_to_sleep(has_progress);
      has_progress = run_copies(!has_progress && !has_slept) || has_progress || has_slept;
      if (!has_progress) give_turn();
    }
    while (run_copies(true)) {
    }
    for (std::size_t i = 0; i < kGuardBytes; ++i) {
      if (dynamic_bytes[grid_.shared_bytes + i] != kPattern) fail("wrote behind the block's dynamic shared memory");
    }
    cluster_.idle_turns = 0;
    leave();
  }

  void yield(const std::function<bool()>& condition, const char* what) {
    Thread& thread = *current_;
    thread.condition = &condition;
    thread.waits_for = what;
    main_ = std::move(main_).resume();
  }

  Thread& thread() { return *current_; }
  Warp& warp() { return warps_[current_->index.x / 32]; }
  BlockBarrier& barrier(int i) { return barriers_.at(static_cast<std::size_t>(i)); }
  int live() const { return live_; }
  const Grid& grid() const { return grid_; }
  Cluster& cluster() { return cluster_; }
  int rank() const { return rank_; }
  const Index3& index() const { return index_; }
  unsigned char* memory() { return memory_; }
  bool has_exited() const { return has_left_; }
  void add_copy(std::function<void()> work) { copies_.push_back(std::move(work)); }

  // Runs what the lanes came for if all of them are here.
  void complete(Warp& warp) {
    if (warp.arrived == 0 || warp.arrived != (warp.wanted & warp.live)) return;
    std::array<void*, 32> given{};
    for (std::size_t i = 0; i < 32; ++i) given[i] = warp.arrived >> i & 1 ? warp.given[i] : nullptr;
    warp.whole(given);
    warp.arrived = 0;
    ++warp.generation;
  }
  void complete(BlockBarrier& barrier) {
    if (barrier.arrived == 0 || barrier.arrived < (barrier.wanted == 0 ? live_ : barrier.wanted)) return;
    barrier.arrived = 0;
    ++barrier.generation;
  }

  static void complete(Cluster& cluster) {
    int live = 0;
    for (const Block* other : cluster.blocks) live += other->live_;
    if (cluster.arrived == 0 || cluster.arrived < live) return;
    cluster.arrived = 0;
    ++cluster.generation;
  }

  void describe() {
    std::fprintf(stderr, "block %u (rank %d of its cluster), %d threads left:\n", index_.x, rank_, live_);
    const char* last = "";
    for (const Thread& thread : threads_) {
      if (thread.has_exited || thread.condition == nullptr || thread.waits_for == last) continue;
      last = thread.waits_for;
      std::fprintf(stderr, "  from thread %u on: %s\n", thread.index.x, last);
    }
  }

 private:
  void exit(Thread& thread) {
    thread.has_exited = true;
    --live_;
    Warp& warp = warps_[thread.index.x / 32];
    warp.live &= ~(1u << thread.index.x % 32);
    complete(warp);
    for (BlockBarrier& barrier : barriers_) complete(barrier);
    complete(cluster_);
  }

  // Lets warps sleep for a few turns at random, so that they drift apart; none if no other can go on. Whether any did.
  bool put_to_sleep(bool has_progress) {
    bool has_slept = false;
    for (Warp& warp : warps_) {
      has_slept = has_slept || warp.is_asleep;
      warp.is_asleep = has_progress && random_() % 8 < (warp.is_asleep ? 6 : 1);
    }
    return has_slept;
  }

  bool run_copies(bool is_idle) {
    bool has_run = false;
    for (std::size_t i = 0; i < copies_.size();) {
      if (!is_idle && random_() % 4 != 0) {
        ++i;
        continue;
      }
      const auto work = std::move(copies_[i]);
      copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(i));
      work();
      has_run = true;
      is_idle = false;  // one of them may be what somebody waits for
    }
    return has_run;
  }

  void wait_for_turn() {
    std::unique_lock lock(cluster_.mutex);
    cluster_.changed.wait(lock, [&] { return cluster_.turn == rank_; });
  }
  void pass_turn() {
    const int count = static_cast<int>(cluster_.blocks.size());
    for (int i = 1; i <= count; ++i) {
      const int next = (rank_ + i) % count;
      if (cluster_.blocks[static_cast<std::size_t>(next)]->has_left_) continue;
      cluster_.turn = next;
      break;
    }
    cluster_.changed.notify_all();
  }
  // Nothing here can go on: perhaps in another block.
  void give_turn() {
    const bool can_another = std::any_of(threads_.begin(), threads_.end(), [](Thread& thread) {
      return !thread.has_exited && (thread.condition == nullptr || (*thread.condition)());
    });
    if (can_another) return;
    if (++cluster_.idle_turns > 2 * static_cast<int>(cluster_.blocks.size())) {
      std::fprintf(stderr, "no thread can go on:\n");
      for (Block* block : cluster_.blocks) block->describe();
      std::abort();
    }
    {
      const std::lock_guard lock(cluster_.mutex);
      pass_turn();
    }
    wait_for_turn();
    const bool can_now = std::any_of(threads_.begin(), threads_.end(), [](Thread& thread) {
      return !thread.has_exited && (thread.condition == nullptr || (*thread.condition)());
    });
    if (can_now) cluster_.idle_turns = 0;
  }
  void leave() {
    const std::lock_guard lock(cluster_.mutex);
    has_left_ = true;
    pass_turn();
  }

  const Grid& grid_;
  Cluster& cluster_;
  int rank_;
  Index3 index_;
  std::minstd_rand random_;
  std::deque<Thread> threads_;
  std::vector<Warp> warps_;
  std::array<BlockBarrier, 16> barriers_{};
  std::deque<std::function<void()>> copies_;
  context::fiber main_;
  Thread* current_ = nullptr;
  int live_ = 0;
  bool has_left_ = false;
  unsigned char* memory_ = dynamic_bytes;
};

// Where byte `offset` of an operand lies whose rows are swizzled over as many bytes as they have.
const unsigned char* swizzled(std::uint64_t descriptor, int row_bytes, int offset) {
  const auto number = static_cast<std::uint32_t>(descriptor & 0x3fff) * 16 + static_cast<std::uint32_t>(offset);
  return shared_at(number ^ (number / 128 % (static_cast<std::uint32_t>(row_bytes) / 16) * 16));
}

std::uint16_t element(const unsigned char* at) {
  std::uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return bits;
}

int row_bytes_of(std::uint64_t descriptor) {
  const auto mode = static_cast<int>(descriptor >> 62);
  if (mode == 0) fail("operands without swizzle are not known here");
  const int row_bytes = 256 >> mode;
  if (static_cast<int>(descriptor >> 32 & 0x3fff) * 16 != 8 * row_bytes) fail("8 rows are not next to the next 8");
  return row_bytes;
}

// A warp's 16 rows of a warpgroup's product.
void multiply(const std::array<Product, 32>& lanes) {
  constexpr int kRows = 16, kInner = 16, kMostColumns = 256;
  const Product& first = lanes[0];
  const int columns = first.columns, warp_row = static_cast<int>(thread_index().x) / 32 % 4 * kRows;
  float a[kRows][kInner];
  static thread_local float b[kInner][kMostColumns], d[kRows][kMostColumns];
  for (const Product& lane : lanes) {
    if (lane.b != first.b || lane.columns != columns || (!lane.has_registers && lane.a != first.a)) {
      fail("lanes of a warp multiply different operands");
    }
  }
  const int b_bytes = row_bytes_of(first.b), panel_bytes = static_cast<int>(first.b >> 16 & 0x3fff) * 16;
  for (int k = 0; k < kInner; ++k) {
    for (int n = 0; n < columns; ++n) {
      // Transposed, an element of the inner dimension is a row, and columns are spread over panels.
      const int offset =
          first.is_transposed ? 2 * n / b_bytes * panel_bytes + k * b_bytes + 2 * n % b_bytes : n * b_bytes + 2 * k;
      b[k][n] = first.to_float(element(swizzled(first.b, b_bytes, offset)));
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int k = 0; k < kInner; ++k) {
      if (first.has_registers) {
        const Product& lane = lanes[static_cast<std::size_t>(row % 8 * 4 + k % 8 / 2)];
        const std::uint32_t pair = *lane.a_registers[row / 8 + k / 8 * 2];
        a[row][k] = first.to_float(static_cast<std::uint16_t>(pair >> k % 2 * 16));
      } else {
        const int bytes = row_bytes_of(first.a);
        a[row][k] = first.to_float(element(swizzled(first.a, bytes, (warp_row + row) * bytes + 2 * k)));
      }
    }
  }
  const auto at = [&](int row, int n) -> float& {
    return lanes[static_cast<std::size_t>(row % 8 * 4 + n % 8 / 2)].d[n / 8 * 4 + row / 8 * 2 + n % 2];
  };
  for (int row = 0; row < kRows; ++row) {
    for (int n = 0; n < columns; ++n) d[row][n] = first.is_added ? at(row, n) : 0.0f;
    for (int k = 0; k < kInner; ++k) {
      for (int n = 0; n < columns; ++n) d[row][n] += a[row][k] * b[k][n];
    }
    for (int n = 0; n < columns; ++n) at(row, n) = d[row][n];
  }
}

thread_local Block* block = nullptr;
thread_local Index3 block_size_, grid_size_;

// One block of a team's clusters after the other, on a thread of the host.
void run_rank(const Grid& grid, Cluster& cluster, int rank, unsigned first, unsigned step,
              const std::function<void()>& kernel) {
  block_size_ = {grid.threads, 1, 1};
  grid_size_ = {grid.blocks, 1, 1};
  for (unsigned i = first; i < grid.blocks / grid.cluster; i += step) {
    Block own(grid, cluster, rank, i * grid.cluster + static_cast<unsigned>(rank), kernel);
    block = &own;
    cluster.blocks[static_cast<std::size_t>(rank)] = &own;
    if (rank == 0) cluster.turn = cluster.idle_turns = cluster.arrived = 0;
    cluster.start.arrive_and_wait();
    own.run();
    cluster.end.arrive_and_wait();
    block = nullptr;
  }
}

}  // namespace

void run_grid(const Grid& grid, const std::function<void()>& kernel) {
  if (grid.threads == 0 || grid.threads > 1024 || grid.shared_bytes > kSharedBytes || grid.blocks % grid.cluster != 0 ||
      grid.cluster > 8) {
    std::fprintf(stderr, "no GPU launches %u blocks of %u threads with %zu bytes of shared memory in clusters of %u\n",
                 grid.blocks, grid.threads, grid.shared_bytes, grid.cluster);
    std::abort();
  }
  const unsigned clusters = grid.blocks / grid.cluster;
  constexpr unsigned kThreadsWorthATeam = 4096;
  const unsigned teams = std::clamp(clusters * grid.cluster * grid.threads / kThreadsWorthATeam, 1u,
                                    std::min(std::max(1u, std::thread::hardware_concurrency()), clusters));
  if (teams * grid.cluster == 1) {
    Cluster cluster(1);
    return run_rank(grid, cluster, 0, 0, 1, kernel);
  }
  std::deque<Cluster> shared;
  std::vector<std::thread> threads;
  for (unsigned team = 0; team < teams; ++team) {
    Cluster& cluster = shared.emplace_back(static_cast<int>(grid.cluster));
    for (unsigned rank = 0; rank < grid.cluster; ++rank) {
      threads.emplace_back([&, team, rank] { run_rank(grid, cluster, static_cast<int>(rank), team, teams, kernel); });
    }
  }
  for (std::thread& thread : threads) thread.join();
}

const Index3& thread_index() {
  return block->thread().index;
}
const Index3& block_index() {
  return block->index();
}
const Index3& block_size() {
  return block_size_;
}
const Index3& grid_size() {
  return grid_size_;
}
int lane() {
  return static_cast<int>(thread_index().x % 32);
}
int cluster_rank() {
  return block->rank();
}
int cluster_blocks() {
  return static_cast<int>(block->grid().cluster);
}

void fail(const char* what) {
  std::fprintf(stderr, "block %u, thread %u: %s\n", block_index().x, thread_index().x, what);
  std::abort();
}

void wait_until(const std::function<bool()>& condition, const char* what) {
  if (!condition()) block->yield(condition, what);
}

void block_barrier(int i, int threads) {
  BlockBarrier& barrier = block->barrier(i);
  if (barrier.arrived > 0 && barrier.wanted != threads) fail("threads disagree on how many meet at a barrier");
  if (threads % 32 != 0) fail("a barrier of a part of a warp");
  barrier.wanted = threads;
  ++barrier.arrived;
  const unsigned generation = barrier.generation;
  block->complete(barrier);
  wait_until([&] { return barrier.generation != generation; }, "a barrier of the block");
}

void cluster_barrier() {
  Cluster& cluster = block->cluster();
  const unsigned generation = cluster.generation;
  ++cluster.arrived;
  Block::complete(cluster);
  wait_until([&] { return cluster.generation != generation; }, "the cluster's barrier");
}

void collective(std::uint32_t lanes, void* mine, void (*whole)(Lanes), std::source_location where) {
  Warp& warp = block->warp();
  const bool is_first = warp.arrived == 0;
  if (!is_first && (warp.whole != whole || warp.wanted != lanes)) {
    std::fprintf(stderr, "lanes of a warp are at %s and at %s\n", warp.where.function_name(), where.function_name());
    fail("lanes of a warp meet at different instructions");
  }
  warp.whole = whole;
  warp.wanted = lanes;
  warp.where = where;
  warp.given[static_cast<std::size_t>(lane())] = mine;
  warp.arrived |= 1u << lane();
  const unsigned generation = warp.generation;
  block->complete(warp);
  wait_until([&] { return warp.generation != generation; }, where.function_name());
}

void run_later(std::function<void()> work) {
  block->add_copy(std::move(work));
}

void add_copy(std::function<void()> copy) {
  block->thread().copies.open.push_back(std::move(copy));
}
void commit_copies() {
  block->thread().copies.commit();
}
void finish_copies(int groups_left) {
  auto& committed = block->thread().copies.committed;
  while (static_cast<int>(committed.size()) > groups_left) {
    for (const auto& copy : committed.front()) copy();
    committed.pop_front();
  }
}

void add_product(const Product& product) {
  block->thread().products.open.push_back(product);
}
void commit_products() {
  block->thread().products.commit();
}
void finish_products(int groups_left) {
  struct Mine {
    Groups<Product>* products;
    int groups_left;
  } mine{&block->thread().products, groups_left};
  collective(~0u, &mine, [](Lanes lanes) {
    const auto of = [&](std::size_t lane) -> Mine& { return *static_cast<Mine*>(lanes[lane]); };
    if (std::any_of(lanes.begin(), lanes.end(), [](void* given) { return given == nullptr; })) {
      fail("a part of a warp waits for its products");
    }
    while (static_cast<int>(of(0).products->committed.size()) > of(0).groups_left) {
      const std::size_t count = of(0).products->committed.front().size();
      for (std::size_t i = 0; i < count; ++i) {
        std::array<Product, 32> products;
        for (std::size_t lane = 0; lane < 32; ++lane) {
          const auto& committed = of(lane).products->committed;
          if (committed.empty() || committed.front().size() != count) fail("lanes have started different products");
          products[lane] = committed.front()[i];
        }
        multiply(products);
      }
      for (std::size_t lane = 0; lane < 32; ++lane) of(lane).products->committed.pop_front();
    }
  });
}

unsigned char* dynamic_memory() {
  return block->memory();
}
std::uint32_t shared_number(const void* shared) {
  return static_cast<std::uint32_t>(static_cast<const unsigned char*>(shared) - block->memory()) + kFirstNumber;
}
unsigned char* shared_at(std::uint32_t number) {
  return block->memory() + static_cast<std::int32_t>(number - kFirstNumber);
}
void* in_block(const void* shared, int rank) {
  Block& other = *block->cluster().blocks.at(static_cast<std::size_t>(rank));
  if (other.has_exited()) fail("reads the shared memory of a block that has exited");
  return other.memory() + (static_cast<const unsigned char*>(shared) - block->memory());
}

}  // namespace vistazo::emulation
