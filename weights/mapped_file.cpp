#include "weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "kernels/base/error.h"

namespace vistazo {
namespace {

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
};

[[noreturn]] void fail_with_errno(const std::string& path, const char* action) {
  const int code = errno;
  fail(Error::Code::file, "{}: cannot be {}: {}", path, action, std::generic_category().message(code));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const std::string name = path.string();
  // Without O_NONBLOCK, opening a pipe would wait for its other end.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0) fail_with_errno(name, "opened");
  struct stat status;
  if (::fstat(file.number, &status) != 0) fail_with_errno(name, "examined");
  if (S_ISDIR(status.st_mode)) fail(Error::Code::file, "{}: is a folder; a file is wanted", name);
  if (!S_ISREG(status.st_mode)) fail(Error::Code::file, "{}: is a pipe or a device; a regular file is wanted", name);
  if (status.st_size == 0) return;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (address == MAP_FAILED) fail_with_errno(name, "mapped");
  bytes_ = {static_cast<const std::byte*>(address), size};
  ::madvise(address, size, MADV_WILLNEED);  // a hint; its failure costs time only
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace vistazo
