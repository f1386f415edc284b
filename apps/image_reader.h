#pragma once

#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "apps/image_io.h"
#include "apps/inputs.h"

namespace vistazo::apps {

struct ReadImage {
  std::size_t index = 0;  // of the input
  Picture picture;        // without pixels where there is an error
  std::string error;
};

// Reads images ahead of their use in threads of its own and hands them out in the order of the inputs. At most `depth`
// images, and about 512 MiB of pixels, wait at a time.
class ImageReader {
 public:
  ImageReader(std::vector<Input> inputs, int depth, int threads);
  ~ImageReader();
  ImageReader(const ImageReader&) = delete;
  ImageReader& operator=(const ImageReader&) = delete;

  // Waits for the next image; nothing after the last one.
  std::optional<ReadImage> next();

 private:
  void read_images();
  bool may_start() const;

  const std::vector<Input> inputs_;
  const std::size_t depth_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::size_t, ReadImage> ready_;
  std::size_t ready_bytes_ = 0;
  std::size_t started_ = 0, taken_ = 0;  // images
  bool is_stopping_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace vistazo::apps
