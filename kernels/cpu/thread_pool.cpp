#include "kernels/cpu/thread_pool.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <system_error>
#include <thread>
#include <vector>

// A loop is posted as one 64-bit ticket: its generation and the number of items that nobody has taken yet. A thread
// takes an item by decrementing the ticket with a compare-exchange, which fails if the loop is over, so a thread that
// wakes late cannot touch the next loop. Who holds an item keeps the loop alive: the caller returns once all items are
// finished.
//
// Waiting: a thread first spins, because the next loop of a forward pass follows within microseconds and waking a
// sleeping thread takes longer; then it sleeps, so that a core that has other work gets on with it. OpenMP's teams (of
// libgomp) spin for milliseconds and meet at a barrier: one busy neighbour made a pass ten times slower.
namespace vistazo {

namespace {

// Longer than the caller's own work between most loops. With 10 us instead of 50, a pass of 20 ms on two threads takes
// 8 % longer; with 100 us, 8 % longer beside a busy process.
constexpr std::chrono::microseconds kSpinTime{50};

constexpr std::uint64_t kRemainingMask = 0xffffffff;  // of a ticket

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether is_done() came true within kSpinTime.
template <typename Condition>
bool spin_until(Condition&& is_done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 16; ++i) {
      if (is_done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

// Sleeps while value is `seen`; may return early. std::atomic::wait (of libstdc++ 12) would call sched_yield() first,
// which gives the rest of a time slice, milliseconds, to a competing process.
void sleep_while(const std::atomic<std::uint32_t>& value, std::uint32_t seen) {
  syscall(SYS_futex, &value, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}

void wake(const std::atomic<std::uint32_t>& value, int threads) {
  syscall(SYS_futex, &value, FUTEX_WAKE_PRIVATE, threads, nullptr, nullptr, 0);
}

int usable_cores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return std::max(1, CPU_COUNT(&cores));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

class ThreadPool::Team {
 public:
  explicit Team(int threads) {
    threads_.reserve(static_cast<std::size_t>(threads - 1));
    try {
      for (int worker = 1; worker < threads; ++worker) threads_.emplace_back([this, worker] { serve(worker); });
    } catch (const std::system_error&) {  // no more threads to be had: those that started do the work
    }
  }

  int size() const { return 1 + static_cast<int>(threads_.size()); }

  ~Team() {
    is_stopping_ = true;
    ++posted_;
    wake(posted_, size());
    for (std::thread& thread : threads_) thread.join();
  }

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // Items first to first + items - 1 on all threads; false, having done nothing, while another loop runs.
  bool run(std::uint32_t items, std::int64_t first, void* body, Call call) {
    if (is_taken_.exchange(true, std::memory_order_acquire)) return false;
    body_ = body;
    call_ = call;
    first_ = first;
    items_ = items;
    unfinished_.store(items, std::memory_order_relaxed);
    const std::uint64_t generation = (ticket_.load(std::memory_order_relaxed) | kRemainingMask) + 1;
    ticket_.store(generation + items, std::memory_order_release);
    ++posted_;
    if (sleepers_ != 0) wake(posted_, static_cast<int>(std::min<std::int64_t>(std::int64_t{items} - 1, size() - 1)));
    run_items(0);
    wait_for_others();
    is_taken_.store(false, std::memory_order_release);
    return true;
  }

 private:
  // Takes items until none is left. They are of one loop: none ends before run_items has counted what it did for it.
  void run_items(int worker) {
    std::uint32_t done = 0;
    for (std::uint64_t ticket = ticket_.load(std::memory_order_acquire); (ticket & kRemainingMask) != 0;) {
      if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acquire)) continue;
      const std::uint32_t item = items_ - static_cast<std::uint32_t>(ticket & kRemainingMask);
      call_(body_, first_ + item, worker);
      ++done;
      --ticket;
    }
    if (done != 0 && unfinished_.fetch_sub(done) == done && is_caller_asleep_) wake(unfinished_, 1);
  }

  void wait_for_others() {
    if (spin_until([&] { return unfinished_.load(std::memory_order_acquire) == 0; })) return;
    is_caller_asleep_ = true;
    for (std::uint32_t left; (left = unfinished_) != 0;) sleep_while(unfinished_, left);
    is_caller_asleep_ = false;
  }

  void serve(int worker) {
    for (;;) {
      const std::uint32_t seen = posted_.load();  // before looking for items: what is posted later changes it
      if (is_stopping_) return;
      run_items(worker);
      if (spin_until([&] { return posted_.load(std::memory_order_relaxed) != seen; })) continue;
      ++sleepers_;
      sleep_while(posted_, seen);
      --sleepers_;
    }
  }

  // The loop that runs. Written by its caller while no item is left; read by those who hold an item.
  void* body_ = nullptr;
  Call call_ = nullptr;
  std::int64_t first_ = 0;
  std::uint32_t items_ = 0;

  alignas(64) std::atomic<std::uint64_t> ticket_{0};  // generation << 32 | items not taken
  alignas(64) std::atomic<std::uint32_t> unfinished_{0};
  alignas(64) std::atomic<std::uint32_t> posted_{0};  // counts loops; idle threads wait for it to change
  // Whether a system call is needed to wake somebody. Who goes to sleep says so first and then looks once more (in
  // sleep_while); who posts or finishes writes first and then looks here: one of the two sees the other.
  std::atomic<int> sleepers_{0};
  std::atomic<bool> is_caller_asleep_{false};
  std::atomic<bool> is_taken_{false}, is_stopping_{false};
  std::vector<std::thread> threads_;
};

ThreadPool::ThreadPool(int threads) : threads_(threads > 0 ? threads : usable_cores()) {
  if (threads_ == 1) return;
  team_ = std::make_shared<Team>(threads_);
  threads_ = team_->size();
}

void ThreadPool::run(std::int64_t items, void* body, Call call) const {
  std::int64_t first = 0;
  while (team_ && items - first > 1) {
    const std::int64_t count = std::min<std::int64_t>(items - first, kRemainingMask);
    if (!team_->run(static_cast<std::uint32_t>(count), first, body, call)) break;
    first += count;
  }
  for (; first < items; ++first) call(body, first, 0);
}

}  // namespace vistazo
