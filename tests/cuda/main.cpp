#define DOCTEST_CONFIG_IMPLEMENT
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstdio>
#include <string_view>

// Exit status 77, which ctest reports as skipped, where no GPU is usable. Lists of tests need none.
int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  bool is_list = false;
  for (int i = 1; i < argc; ++i) is_list = is_list || std::string_view(argv[i]).find("list-") != std::string_view::npos;
  int devices = 0;
  if (!is_list) {
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices == 0) {
      std::printf("skipped: no CUDA device (%s)\n", cudaGetErrorString(error));
      return kSkipped;
    }
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, 0) == cudaSuccess) {
      std::printf("on %s, compute capability %d.%d\n", properties.name, properties.major, properties.minor);
    }
  }
  return doctest::Context(argc, argv).run();
}
