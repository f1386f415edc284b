#include "kernels/cpu/thread_pool.h"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace vistazo {
namespace {

// How often each item of a loop ran; an item out of range would be caught by a sanitizer or at().
std::vector<int> counts_of(const ThreadPool& pool, std::int64_t items) {
  std::vector<std::atomic<int>> counts(static_cast<std::size_t>(items));
  pool.for_each(items, [&](std::int64_t item, int) { ++counts.at(static_cast<std::size_t>(item)); });
  return {counts.begin(), counts.end()};
}

TEST_CASE("thread pool: every item once, and a worker does one thing at a time") {
  for (const int threads : {1, 2, 3, 8}) {
    CAPTURE(threads);
    const ThreadPool pool(threads);
    REQUIRE(pool.threads() == threads);
    for (const std::int64_t items : {0, 1, 2, 3, 7, 8, 9, 63, 1000}) {
      CAPTURE(items);
      CHECK(counts_of(pool, items) == std::vector<int>(static_cast<std::size_t>(items), 1));
    }
    std::array<std::atomic<int>, 8> busy{};
    std::atomic<int> overlaps{0}, strangers{0};
    pool.for_each(2000, [&](std::int64_t, int worker) {
      if (worker < 0 || worker >= threads) {
        ++strangers;
        return;
      }
      std::atomic<int>& mine = busy[static_cast<std::size_t>(worker)];
      if (mine.exchange(1) != 0) ++overlaps;
      mine = 0;
    });
    CHECK(overlaps == 0);
    CHECK(strangers == 0);
  }
}

TEST_CASE("thread pool: what the items wrote is there when the loop returns") {
  const ThreadPool pool(3);
  std::vector<std::int64_t> values(1000);
  for (std::int64_t round = 0; round < 300; ++round) {
    pool.for_each(1000, [&](std::int64_t item, int) { values[static_cast<std::size_t>(item)] = round * item; });
    bool is_right = true;
    for (std::int64_t i = 0; i < 1000; ++i) is_right = is_right && values[static_cast<std::size_t>(i)] == round * i;
    REQUIRE(is_right);
  }
}

TEST_CASE("thread pool: many tiny loops in a row") {
  for (const int threads : {2, 8}) {
    const ThreadPool pool(threads);
    std::atomic<std::int64_t> sum{0};
    for (int loop = 0; loop < 100000; ++loop) {
      pool.for_each(2 + loop % 3, [&](std::int64_t item, int) { sum += item + 1; });
    }
    // 33334 loops of 2 items, 33333 each of 3 and 4 items, worth 3, 6 and 10.
    CHECK(sum == 33334 * 3 + 33333 * 6 + 33333 * 10);
  }
}

TEST_CASE("thread pool: two threads call one pool at once, and a copy") {
  const ThreadPool pool(3);
  std::array<std::atomic<std::int64_t>, 4> sums{};
  std::vector<std::thread> callers;
  for (std::atomic<std::int64_t>& sum : sums) {
    callers.emplace_back([&sum, pool] {
      for (int loop = 0; loop < 2000; ++loop) {
        pool.for_each(10, [&](std::int64_t item, int) { sum += item; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::atomic<std::int64_t>& sum : sums) CHECK(sum == 2000 * 45);
}

TEST_CASE("thread pool: a loop inside a loop") {
  const ThreadPool pool(3);
  std::atomic<int> inner{0};
  for (int loop = 0; loop < 200; ++loop) {
    pool.for_each(7, [&](std::int64_t, int) { pool.for_each(5, [&](std::int64_t, int) { ++inner; }); });
  }
  CHECK(inner == 200 * 7 * 5);
}

TEST_CASE("thread pool: destroyed right after use, or without") {
  std::atomic<int> runs{0};
  for (int repeat = 0; repeat < 300; ++repeat) {
    const ThreadPool pool(2 + repeat % 4);
    if (repeat % 3 != 0) pool.for_each(repeat % 9, [&](std::int64_t, int) { ++runs; });
  }
  int expected = 0;
  for (int repeat = 0; repeat < 300; ++repeat) expected += repeat % 3 != 0 ? repeat % 9 : 0;
  CHECK(runs == expected);
}

TEST_CASE("thread pool: threads that fell asleep wake up") {
  const ThreadPool pool(2);
  for (int repeat = 0; repeat < 50; ++repeat) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    // Each item waits for the other one: this ends only if both threads take part.
    std::atomic<int> arrived{0};
    pool.for_each(2, [&](std::int64_t, int) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
    CHECK(arrived == 2);
  }
}

TEST_CASE("thread pool: 0 threads means all cores") {
  CHECK(ThreadPool().threads() >= 1);
  CHECK(ThreadPool(0).threads() <= static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace vistazo
