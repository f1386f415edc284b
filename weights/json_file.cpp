#include "weights/json_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "kernels/base/error.h"
#include "weights/mapped_file.h"
#include "weights/printable.h"

namespace vistazo {
namespace {

// The parser's message without its own prefix and position: "[json.exception...] parse error at line 1, column 2: ...".
std::string reason_of(const nlohmann::json::exception& error) {
  std::string_view text = error.what();
  if (const std::size_t column = text.find("column "); column != std::string_view::npos) {
    if (const std::size_t colon = text.find(": ", column); colon != std::string_view::npos)
      text.remove_prefix(colon + 2);
  } else if (const std::size_t bracket = text.find("] "); bracket != std::string_view::npos) {
    text.remove_prefix(bracket + 2);
  }
  return printable(text);
}

// Watches the parser and stops it, by throwing, at the first thing that is over a limit.
class Watch {
 public:
  Watch(const std::string& source, const JsonLimits& limits) : source_(source), limits_(limits) {}

  void see(nlohmann::json::parse_event_t event, const Json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        if (keys_.size() == limits_.depth) {
          fail(Error::Code::file, "{}: nested deeper than {} levels", source_, limits_.depth);
        }
        keys_.emplace_back();
        count_value();
        return;
      case Event::object_end:
      case Event::array_end:
        keys_.pop_back();
        return;
      case Event::key: {
        const std::string& key = parsed.get_ref<const std::string&>();
        if (!keys_.back().insert(key).second)
          fail(Error::Code::file, "{}: key {} appears twice", source_, in_quotes(key));
        return;
      }
      case Event::value:
        count_value();
        return;
    }
  }

 private:
  void count_value() {
    if (++values_ > limits_.values) fail(Error::Code::file, "{}: more than {} values", source_, limits_.values);
  }

  const std::string& source_;
  const JsonLimits& limits_;
  std::vector<std::unordered_set<std::string>> keys_;  // of each object, or list, that is open
  std::size_t values_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& source, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    fail(Error::Code::file, "{}: {} bytes of JSON; at most {} are allowed", source, text.size(), limits.bytes);
  }
  // The parser takes a zero byte for the end.
  if (text.find('\0') != std::string_view::npos) fail(Error::Code::file, "{}: has a zero byte", source);
  Watch watch(source, limits);
  try {
    return Json::parse(text.begin(), text.end(), [&](int, Json::parse_event_t event, const Json& parsed) {
      watch.see(event, parsed);
      return true;
    });
  } catch (const Json::parse_error& error) {
    const std::string_view before = text.substr(0, error.byte > 0 ? error.byte - 1 : 0);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const std::size_t column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    fail(Error::Code::file, "{}: line {}, column {}: {}", source, line, column, reason_of(error));
  } catch (const Json::exception& error) {
    fail(Error::Code::file, "{}: {}", source, reason_of(error));
  }
}

Json read_json(const std::filesystem::path& path, const JsonLimits& limits) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string(), limits);
}

}  // namespace vistazo
