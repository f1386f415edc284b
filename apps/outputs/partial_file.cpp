#include "apps/outputs/partial_file.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace vistazo::apps {
namespace fs = std::filesystem;

fs::path partial_path(const fs::path& path) {
  std::error_code error;
  fs::path target = fs::is_symlink(path, error) ? fs::weakly_canonical(path, error) : path;  // a link keeps being one
  if (error) target = path;
  target += ".partial";
  return target;
}

PartialFile::PartialFile(const fs::path& path, Start start) : path_(path) {
  if (path == "-") {
    file_ = stdout;
    return;
  }
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  const bool is_direct = fs::exists(status) && !fs::is_regular_file(status);
  if (!is_direct) partial_ = partial_path(path);
  file_ = std::fopen(is_direct ? path_.c_str() : partial_.c_str(), start == Start::append ? "ab" : "wb");
  if (!file_) fail("cannot be created");
}

PartialFile::~PartialFile() {
  if (file_ && file_ != stdout) std::fclose(file_);
}

void PartialFile::fail(const char* what) const {
  const std::string name = path_ == "-" ? "standard output" : path_.string();
  throw Error(Error::Code::file, fmt::format("{} {}: {}", name, what, std::strerror(errno)));
}

void PartialFile::write(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size() || std::fflush(file_) != 0) {
    fail("cannot be written");
  }
}

void PartialFile::commit() {
  if (file_ == stdout) return;
  const bool is_closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (!is_closed) fail("cannot be written");
  if (partial_.empty()) return;
  fs::path target = partial_;
  target.replace_extension();  // of ".partial"
  if (std::rename(partial_.c_str(), target.c_str()) != 0) fail("cannot be written");
}

}  // namespace vistazo::apps
