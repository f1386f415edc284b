#pragma once

#include <cstdint>
#include <cstring>

#include "tests/emulation/machine.h"

namespace vistazo::cuda::ptx {

using Barrier = std::uint64_t;

inline std::uint32_t shared_address(const void* shared) {
  return emulation::shared_number(shared);
}

// What a barrier's 64 bits hold here.
struct BarrierState {
  std::uint16_t arrivals, left;  // of a phase, and those that it still waits for
  std::int32_t bytes_and_phase;  // twice the announced bytes that are not there yet, plus the phase's parity
};
static_assert(sizeof(BarrierState) == sizeof(Barrier));

// Changes the state and completes the phase if nothing is missing.
template <typename Change>
void change_barrier(void* barrier, Change&& change) {
  BarrierState state;
  std::memcpy(&state, barrier, sizeof(state));
  change(state);
  if (state.left == 0 && state.bytes_and_phase / 2 == 0) {
    state.left = state.arrivals;
    state.bytes_and_phase ^= 1;
  }
  std::memcpy(barrier, &state, sizeof(state));
}

inline void mbarrier_init(Barrier* barrier, int arrivals) {
  const auto count = static_cast<std::uint16_t>(arrivals);
  const BarrierState state{count, count, 0};
  if (reinterpret_cast<std::uintptr_t>(barrier) % 8 != 0 || arrivals < 1) emulation::fail("no place for a barrier");
  std::memcpy(barrier, &state, sizeof(state));
}
inline void fence_mbarrier_init() {}

inline void mbarrier_arrive_at(void* barrier) {
  change_barrier(barrier, [](BarrierState& state) {
    if (state.left == 0) emulation::fail("more arrivals than the barrier counts");
    --state.left;
  });
}
inline void mbarrier_arrive(Barrier* barrier) {
  mbarrier_arrive_at(barrier);
}
inline void mbarrier_arrive_cluster(Barrier* barrier, int rank) {
  mbarrier_arrive_at(emulation::in_block(barrier, rank));
}
inline void mbarrier_arrive_expect_tx(Barrier* barrier, int bytes) {
  change_barrier(barrier, [&](BarrierState& state) {
    if (state.left == 0) emulation::fail("more arrivals than the barrier counts");
    if (bytes <= 0 || bytes >= 1 << 20) emulation::fail("announces more bytes than a barrier counts");
    --state.left;
    state.bytes_and_phase += 2 * bytes;
  });
}
// Of a copy that has arrived.
inline void mbarrier_complete(void* barrier, int bytes) {
  change_barrier(barrier, [&](BarrierState& state) { state.bytes_and_phase -= 2 * bytes; });
}

inline void mbarrier_wait(Barrier* barrier, int parity) {
  emulation::wait_until(
      [=] {
        BarrierState state;
        std::memcpy(&state, barrier, sizeof(state));
        return (state.bytes_and_phase & 1) != parity;
      },
      "a barrier in shared memory");
}
inline void mbarrier_sleep(Barrier* barrier, int parity) {
  mbarrier_wait(barrier, parity);
}
inline void mbarrier_wait_cluster(Barrier* barrier, int parity) {
  mbarrier_wait(barrier, parity);
}

}  // namespace vistazo::cuda::ptx
