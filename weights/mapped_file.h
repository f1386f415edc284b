#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace vistazo {

// A regular file, mapped read-only. Pages are read when they are first touched, so opening costs no more than a system
// call. If another process cuts the file short while it is mapped, touching the lost part ends the program (SIGBUS):
// replace a checkpoint by renaming a new file over it, as write_safetensors does.
class MappedFile {
 public:
  // Throws Error{file} if there is no such file, or it is a folder, a pipe or a device, or it cannot be read.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;  // empty for an empty file, which cannot be mapped
};

}  // namespace vistazo
