#include "kernels/cpu/features.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#endif

namespace vistazo::cpu {

#if defined(__x86_64__)

// Register states that the operating system saves (XCR0). A feature is usable only with its registers' state.
static std::uint64_t saved_register_states() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE)) return 0;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

bool is_bf16_fast() {
  constexpr std::uint64_t kVectorStates = 0xe6;   // SSE, AVX, and the three of AVX-512
  constexpr std::uint64_t kTileStates = 0x60000;  // AMX configuration and data
  constexpr unsigned kAvx512Bf16 = 1u << 5;       // leaf 7, subleaf 1, eax
  constexpr unsigned kAmxBf16 = 1u << 22;         // leaf 7, subleaf 0, edx
  const std::uint64_t states = saved_register_states();
  if ((states & kVectorStates) != kVectorStates) return false;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  if ((edx & kAmxBf16) && (states & kTileStates) == kTileStates) return true;
  const unsigned last_subleaf = eax;
  return last_subleaf >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & kAvx512Bf16);
}

#else

bool is_bf16_fast() {
  return false;
}

#endif

}  // namespace vistazo::cpu
