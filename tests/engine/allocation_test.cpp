// Counts what one steady image allocates. The sanitizers replace the allocator themselves, so this runs without them.
#ifdef __has_feature  // clang's way to say it; g++ has the macro
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#endif
#ifndef __SANITIZE_ADDRESS__

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <malloc.h>
#include <vistazo/detector.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>

namespace {

std::atomic<bool> is_counting{false};
std::atomic<int> ours{0}, of_libraries{0};

// oneDNN's execute() makes small bookkeeping objects that no caller can avoid: they are told apart by who called.
void count(const void* caller) {
  if (!is_counting.load(std::memory_order_relaxed)) return;
  Dl_info info{};
  const bool is_known = dladdr(caller, &info) != 0 && info.dli_fname;
  const bool is_library =
      is_known && (std::strstr(info.dli_fname, "libdnnl") || std::strstr(info.dli_fname, "libgomp"));
  (is_library ? of_libraries : ours).fetch_add(1, std::memory_order_relaxed);
}

void* allocate(std::size_t bytes, const void* caller) {
  count(caller);
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) {
  return allocate(bytes, __builtin_return_address(0));
}
void* operator new[](std::size_t bytes) {
  return allocate(bytes, __builtin_return_address(0));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

// AlignedBuffer's allocator: the executable's definition is the one that every object of the program calls.
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  count(__builtin_return_address(0));
  return memalign(alignment, bytes);
}

namespace vistazo {
namespace {

void check_steady(const char* model, Precision precision) {
  CAPTURE(model);
  Options options;
  options.device = Device::cpu;
  options.precision = precision;
  options.min_score = 1.0f;  // no detection: a result's vector is the caller's
  const auto config = std::filesystem::path(VISTAZO_TEST_DATA) / model / "config.json";
  const Detector detector = Detector::with_random_weights(config, options);
  const std::vector<std::uint8_t> pixels(3 * 120 * 100, 77);
  const Image small{pixels.data(), 50, 40, 150}, large{pixels.data(), 120, 100, 360};
  detector.detect(small);
  detector.detect(large);
  ours = of_libraries = 0;
  is_counting = true;
  detector.detect(small);
  detector.detect(large);
  detector.detect(small);
  is_counting = false;
  CHECK(ours == 0);
  MESSAGE("allocations of oneDNN and OpenMP in three images: ", of_libraries.load());
}

// A transformer's trunk, and both convolutional backbones.
void check_all_steady(Precision precision) {
  for (const char* model : {"models/w2_original", "rt_detr/r50", "rt_detr/v2_hgnet_original"}) {
    check_steady(model, precision);
  }
}

TEST_CASE("the counter counts") {
  ours = 0;
  is_counting = true;
  delete new int(1);
  std::free(aligned_alloc(64, 64));
  is_counting = false;
  CHECK(ours == 2);
}

TEST_CASE("an image of a known size allocates nothing, in f32") {
  check_all_steady(Precision::f32);
}

TEST_CASE("an image of a known size allocates nothing, in bf16") {
  try {
    check_all_steady(Precision::bf16);
  } catch (const Error& error) {
    CHECK(error.code == Error::Code::unsupported);  // a processor without bf16
    MESSAGE(error.what());
  }
}

}  // namespace
}  // namespace vistazo

#endif
