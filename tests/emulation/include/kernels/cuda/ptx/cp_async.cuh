#pragma once

#include <cstring>

#include "tests/emulation/machine.h"

namespace vistazo::cuda::ptx {

template <int kBytes>
void cp_async(void* shared, const void* global, int bytes) {
  if (reinterpret_cast<std::uintptr_t>(shared) % kBytes != 0 ||
      reinterpret_cast<std::uintptr_t>(global) % kBytes != 0) {
    emulation::fail("cp.async from or to an address that is not aligned");
  }
  if (bytes < 0 || bytes > kBytes) emulation::fail("cp.async of more bytes than there are");
  emulation::add_copy([=] {
    std::memset(shared, 0, kBytes);
    if (bytes > 0) std::memcpy(shared, global, static_cast<std::size_t>(bytes));
  });
}
inline void cp_async_cg_16(void* shared, const void* global, int bytes) {
  cp_async<16>(shared, global, bytes);
}
inline void cp_async_ca_4(void* shared, const void* global, int bytes) {
  cp_async<4>(shared, global, bytes);
}
inline void cp_async_commit_group() {
  emulation::commit_copies();
}
template <int kPending>
void cp_async_wait_group() {
  emulation::finish_copies(kPending);
}
inline void cp_async_wait_all() {
  emulation::commit_copies();
  emulation::finish_copies(0);
}

}  // namespace vistazo::cuda::ptx
