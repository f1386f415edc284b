#include "apps/output_file.h"

#include <fmt/core.h>
#include <unistd.h>
#include <vistazo/error.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace vistazo::apps {
namespace fs = std::filesystem;

OutputFile::OutputFile(const fs::path& path) : path_(path) {
  if (path == "-") {
    file_ = stdout;
    return;
  }
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  const bool is_direct = fs::exists(status) && !fs::is_regular_file(status);
  if (!is_direct) {
    static std::atomic<int> count = 0;                           // several files may be written at once
    if (fs::exists(status)) path_ = fs::canonical(path, error);  // a link keeps being one
    if (error) path_ = path;
    temporary_ = path_;
    temporary_ += fmt::format(".{}-{}.tmp", ::getpid(), count++);
  }
  file_ = std::fopen(is_direct ? path_.c_str() : temporary_.c_str(), "wb");
  if (!file_) fail("cannot be created");
}

OutputFile::~OutputFile() {
  if (!file_ || file_ == stdout) return;
  std::fclose(file_);
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove(temporary_, ignored);
}

void OutputFile::fail(const char* what) const {
  throw Error(Error::Code::file,
              fmt::format("{} {}: {}", path_ == "-" ? "standard output" : path_.string(), what, std::strerror(errno)));
}

void OutputFile::write(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) fail("cannot be written");
}

void OutputFile::commit() {
  if (std::fflush(file_) != 0) fail("cannot be written");
  if (file_ == stdout) return;
  const bool is_closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (is_closed && (temporary_.empty() || std::rename(temporary_.c_str(), path_.c_str()) == 0)) return;
  const int error = errno;
  if (!temporary_.empty()) std::remove(temporary_.c_str());
  errno = error;
  fail("cannot be written");
}

}  // namespace vistazo::apps
