#include "apps/video/truth.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <utility>

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
  std::map<std::pair<std::string, int>, std::int64_t>
      id_of_object;                                              // by label and place among the frame's of that label
  std::map<std::pair<std::int64_t, std::string>, int> count_of;  // by frame and label
  while (csv.next()) {
    const auto frame = csv.number<std::int64_t>("frame");
    const std::string& label = csv.text("label");
    const std::pair object(label, count_of[{frame, label}]++);
    const auto next_id = static_cast<std::int64_t>(id_of_object.size());
    const std::int64_t id =
        csv.has("id") ? csv.number<std::int64_t>("id") : id_of_object.try_emplace(object, next_id).first->second;
    std::vector<IdentifiedBox>& boxes = truth.frames[frame];
    if (std::ranges::find(boxes, id, &IdentifiedBox::id) != boxes.end()) {
      csv.fail(fmt::format("id {} is on frame {} already", id, frame));
    }
    const auto x = csv.number<float>("x"), y = csv.number<float>("y");
    boxes.push_back({id, {x, y, x + csv.number<float>("width"), y + csv.number<float>("height")}});
  }
  return truth;
}

}  // namespace vistazo::apps
