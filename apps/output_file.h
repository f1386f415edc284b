#pragma once

#include <cstdio>
#include <filesystem>
#include <string_view>

namespace vistazo::apps {

// A file that appears whole under its name, or not at all: written beside it and renamed by commit(). The path "-" is
// standard output; a pipe or device is written directly. All members throw Error{file} naming the path.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view text);
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_, temporary_;  // temporary_ is empty where nothing is to be renamed
  std::FILE* file_ = nullptr;
};

}  // namespace vistazo::apps
