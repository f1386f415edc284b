#pragma once

#include <cstdio>
#include <filesystem>
#include <string_view>

namespace vistazo::apps {

// The path while a file is being written: its name with ".partial" behind it.
std::filesystem::path partial_path(const std::filesystem::path& path);

// A file that grows as results come: every write() reaches PATH.partial before it returns, so that a kill loses nothing
// that was written; commit() renames it to PATH. Without commit() the partial file stays. The path "-" is standard
// output; a pipe or device is written directly. All members throw Error{file} naming the path.
class PartialFile {
 public:
  enum class Start { empty, append };  // what to do with the partial file of an earlier run

  explicit PartialFile(const std::filesystem::path& path, Start start = Start::empty);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  void write(std::string_view text);
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_, partial_;  // partial_ is empty where nothing is to be renamed
  std::FILE* file_ = nullptr;
};

}  // namespace vistazo::apps
