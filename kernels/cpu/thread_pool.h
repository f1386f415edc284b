#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace vistazo {

// Runs loops over all cores, on threads of its own. Threads that have nothing to do sleep after a moment, and a loop
// waits for work that a thread has begun, never for a thread that has not woken: on a machine with other busy
// processes a loop takes about as long as the remaining cores need. A copy shares its threads.
class ThreadPool {
 public:
  // threads: 0 takes every core that the process may use. The calling thread is one of them.
  explicit ThreadPool(int threads = 0);

  int threads() const { return threads_; }

  // Calls body(item, worker) once for each item in [0, items), in no fixed order; worker is in [0, threads()) and no
  // two calls of one loop with the same worker overlap, so it can index scratch of that loop. body must not throw.
  // Returns when all are done. A loop inside a loop of the same pool, or on another thread meanwhile, runs on the
  // thread that calls it, as worker 0. Allocates nothing.
  template <typename Body>
  void for_each(std::int64_t items, Body&& body) const {
    run(items, const_cast<void*>(static_cast<const void*>(&body)), [](void* b, std::int64_t item, int worker) {
      (*static_cast<std::remove_reference_t<Body>*>(b))(item, worker);
    });
  }

 private:
  using Call = void (*)(void* body, std::int64_t item, int worker);
  class Team;
  void run(std::int64_t items, void* body, Call call) const;

  int threads_;
  std::shared_ptr<Team> team_;  // null with one thread
};

}  // namespace vistazo
