#include "apps/tile_record.h"

#include <fmt/core.h>
#include <vistazo/error.h>

namespace vistazo::apps {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const fs::path& path, const std::string& reason) {
  throw Error(Error::Code::file, fmt::format("{}: {}", path.string(), reason));
}

Detections detections_of(const Json& line) {
  Detections result;
  for (const Json& d : line.at("detections")) {
    const auto number = [&](std::size_t i) { return d.at(i).get<float>(); };
    result.push_back({{number(0), number(1), number(2), number(3)}, number(4), d.at(5).get<int>()});
  }
  return result;
}

// "window 512, not 640"
std::string difference(const Json& found, const Json& wanted) {
  for (const auto& [key, value] : wanted.items()) {
    const auto other = found.find(key);
    if (other == found.end() || *other != value) {
      return fmt::format("{} {}, not {}", key, other == found.end() ? "nothing" : to_text(*other), to_text(value));
    }
  }
  return "other settings";
}

}  // namespace

TileRecord::TileRecord(const fs::path& path, const Json& request, bool resume, std::vector<std::string> class_names)
    : class_names_(std::move(class_names)) {
  const fs::path partial = partial_path(path);
  std::error_code error;
  const bool has_partial = path != "-" && fs::exists(partial, error) && fs::file_size(partial, error) > 0;
  if (has_partial && !resume) {
    throw Error(Error::Code::argument,
                fmt::format("{} is of a run that was not finished; add --resume to go on with it, "
                            "or delete it",
                            partial.string()));
  }
  if (has_partial) read_partial(partial, to_text(request));
  file_.emplace(path, has_partial ? PartialFile::Start::append : PartialFile::Start::empty);
  if (!has_partial) file_->write(to_text(request) + "\n");
}

// Counts what is there and cuts off what was not written to its end.
void TileRecord::read_partial(const fs::path& partial, const std::string& request) {
  std::ifstream stream(partial, std::ios::binary);
  std::string line;
  std::uintmax_t whole = 0;
  while (std::getline(stream, line) && !stream.eof()) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded() || !json.is_object()) break;
    if (whole == 0) {
      if (line != request) refuse(partial, "is of a run with " + difference(json, Json::parse(request)));
    } else if (json.contains("detections")) {
      if (json.at("window") != known_windows_) break;
      ++known_windows_;
    } else if (json.contains("box")) {
      ++known_objects_;
    } else {
      break;  // the end of a run whose file was not renamed
    }
    whole += line.size() + 1;
  }
  if (whole == 0) refuse(partial, "does not begin as a record of vistazo tile; delete it to start anew");
  fs::resize_file(partial, whole);
  known_.open(partial, std::ios::binary);
}

std::optional<Detections> TileRecord::next_known() {
  std::string line;
  while (told_windows_ < known_windows_ && std::getline(known_, line)) {
    const Json json = Json::parse(line);
    if (!json.contains("detections")) continue;
    ++told_windows_;
    return detections_of(json);
  }
  return {};
}

void TileRecord::add_window(int window, const Detections& detections) {
  Json list = Json::array();
  for (const Detection& d : detections) {
    list.push_back({rounded(d.box.x0, 2), rounded(d.box.y0, 2), rounded(d.box.x1, 2), rounded(d.box.y1, 2),
                    rounded(d.score, 5), d.class_id});
  }
  file_->write(to_text({{"window", window}, {"detections", std::move(list)}}) + "\n");
}

void TileRecord::add_objects(const Detections& objects) {
  std::string lines;
  for (const Detection& object : objects) {
    if (objects_++ >= known_objects_) lines += to_text(to_json(object, class_names_)) + "\n";
  }
  file_->write(lines);
}

void TileRecord::finish(int windows, std::int64_t objects) {
  file_->write(to_text({{"windows", windows}, {"objects", objects}}) + "\n");
  file_->commit();
}

}  // namespace vistazo::apps
