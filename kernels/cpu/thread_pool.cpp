#include "kernels/cpu/thread_pool.h"

#include <omp.h>

#include <algorithm>
#include <atomic>

namespace vistazo {

ThreadPool::ThreadPool(int threads) : threads_(threads > 0 ? threads : std::max(1, omp_get_num_procs())) {}

void ThreadPool::run(std::int64_t items, void* body, Call call) const {
  if (items <= 1 || threads_ == 1) {
    for (std::int64_t item = 0; item < items; ++item) call(body, item, 0);
    return;
  }
  std::atomic<std::int64_t> next{0};
#pragma omp parallel num_threads(threads_)
  {
    const int worker = omp_get_thread_num();
    for (std::int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < items;) call(body, item, worker);
  }
}

}  // namespace vistazo
