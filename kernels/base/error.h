#pragma once

// fmt 9 switches constexpr off for nvcc, and then does not compile as C++20.
#ifdef __CUDACC__
#define FMT_USE_CONSTEXPR 1
#endif
#include <fmt/core.h>
#include <vistazo/error.h>

#include <utility>

// Any layer may include <vistazo/error.h>: it is the one type that every layer throws, and it includes nothing of ours.
namespace vistazo {

template <typename... Args>
[[noreturn]] void fail(Error::Code code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace vistazo
