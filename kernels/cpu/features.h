#pragma once

namespace vistazo::cpu {

// Whether the processor multiplies bf16 in hardware (AVX512-BF16 or AMX-BF16, enabled by the operating system). Without
// it bf16 products still run where oneDNN emulates them (AVX-512), slower than f32 ones.
bool is_bf16_fast();

}  // namespace vistazo::cpu
