#include "apps/video/truth.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <array>
#include <charconv>
#include <fstream>
#include <set>
#include <string_view>

namespace vistazo::apps {
namespace {

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> cells(1);
  for (const char c : line) {
    if (c == ',') {
      cells.emplace_back();
    } else if (c != '\r' && c != '"') {
      cells.back() += c;
    }
  }
  return cells;
}

class CsvReader {
 public:
  explicit CsvReader(const std::filesystem::path& path) : path_(path), file_(path) {
    if (!file_) throw Error(Error::Code::file, fmt::format("{}: cannot be read", path.string()));
    if (!next()) fail("has no header");
    for (std::size_t i = 0; i < cells_.size(); ++i) columns_[cells_[i]] = i;
  }

  bool has(const std::string& column) const { return columns_.contains(column); }
  void require(const std::string& column) const {
    if (!has(column)) fail(fmt::format("has no column '{}'", column));
  }

  bool next() {
    std::string line;
    do {
      ++line_;
      if (!std::getline(file_, line)) return false;
    } while (line.empty() || line == "\r");
    cells_ = split(line);
    return true;
  }

  const std::string& text(const std::string& column) const {
    const std::size_t index = columns_.at(column);
    if (index >= cells_.size()) fail(fmt::format("has {} columns; '{}' is missing", cells_.size(), column));
    return cells_[index];
  }

  template <typename Number>
  Number number(const std::string& column) const {
    const std::string& cell = text(column);
    Number value{};
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (error != std::errc() || end != cell.data() + cell.size())
      fail(fmt::format("{} '{}' is no number", column, cell));
    return value;
  }

  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(Error::Code::file, fmt::format("{}: line {}: {}", path_.string(), line_, reason));
  }

 private:
  std::filesystem::path path_;
  std::ifstream file_;
  std::map<std::string, std::size_t> columns_;
  std::vector<std::string> cells_;
  int line_ = 0;
};

}  // namespace

std::span<const IdentifiedBox> VideoTruth::at(std::int64_t frame) const {
  const auto found = frames.find(frame);
  return found == frames.end() ? std::span<const IdentifiedBox>() : found->second;
}

VideoTruth read_video_truth(const std::filesystem::path& path) {
  CsvReader csv(path);
  for (const char* column : {"frame", "label", "x", "y", "width", "height"}) csv.require(column);
  VideoTruth truth;
  std::map<std::string, std::int64_t> id_of_label;
  while (csv.next()) {
    const auto frame = csv.number<std::int64_t>("frame");
    const std::int64_t of_label = id_of_label.try_emplace(csv.text("label"), id_of_label.size()).first->second;
    const std::int64_t id = csv.has("id") ? csv.number<std::int64_t>("id") : of_label;
    const auto x = csv.number<float>("x"), y = csv.number<float>("y");
    std::vector<IdentifiedBox>& boxes = truth.frames[frame];
    for (const IdentifiedBox& other : boxes) {
      if (other.id != id) continue;
      csv.fail(csv.has("id") ? fmt::format("id {} is on frame {} already", id, frame)
                             : fmt::format("'{}' is on frame {} already; a column 'id' would tell them apart",
                                           csv.text("label"), frame));
    }
    boxes.push_back({id, {x, y, x + csv.number<float>("width"), y + csv.number<float>("height")}});
  }
  return truth;
}

}  // namespace vistazo::apps
