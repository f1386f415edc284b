#pragma once

#include <doctest/doctest.h>
#include <hwy/highway.h>

#include <cstdint>
#include <string>

namespace vistazo::testing {

// Runs `body` once per SIMD instruction set that was compiled and that this machine has, so that a test covers the
// paths of lesser machines too.
template <typename Body>
void for_each_simd_target(Body&& body) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    const std::string simd_target = hwy::TargetName(target);
    CAPTURE(simd_target);
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace vistazo::testing
