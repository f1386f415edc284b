#pragma once

#include <cstdint>
#include <type_traits>

namespace vistazo {

// Runs loops over all cores. The threads are OpenMP's, which oneDNN uses too: one team serves both, so that no idle
// team spins on the cores of a working one. A pool is a number of threads, cheap to copy.
class ThreadPool {
 public:
  // threads: 0 takes every core that the process may use.
  explicit ThreadPool(int threads = 0);

  int threads() const { return threads_; }

  // Calls body(item, worker) once for each item in [0, items), in no fixed order; worker is in [0, threads()) and no
  // two calls with the same worker overlap, so it can index scratch. body must not throw. Returns when all are done.
  template <typename Body>
  void for_each(std::int64_t items, Body&& body) const {
    run(items, const_cast<void*>(static_cast<const void*>(&body)), [](void* b, std::int64_t item, int worker) {
      (*static_cast<std::remove_reference_t<Body>*>(b))(item, worker);
    });
  }

 private:
  using Call = void (*)(void* body, std::int64_t item, int worker);
  void run(std::int64_t items, void* body, Call call) const;

  int threads_;
};

}  // namespace vistazo
