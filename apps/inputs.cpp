#include "apps/inputs.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>

namespace vistazo::apps {
namespace fs = std::filesystem;
namespace {

bool has_wildcard(std::string_view text) {
  return text.find_first_of("*?[") != std::string_view::npos;
}

bool is_hidden(const fs::path& path) {
  return path.filename().native().starts_with('.');
}

// Matches one character with the set at pattern[0] == '['; `end` is set behind the set, or to 0 where it is not closed.
bool is_in_set(char character, std::string_view pattern, std::size_t& end) {
  std::size_t i = 1;
  const bool is_negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (is_negated) ++i;
  const std::size_t first = i;
  bool is_found = false;
  while (i < pattern.size() && (pattern[i] != ']' || i == first)) {
    const bool is_range = i + 2 < pattern.size() && pattern[i + 1] == '-' && pattern[i + 2] != ']';
    const char low = pattern[i], high = is_range ? pattern[i + 2] : low;
    is_found = is_found || (low <= character && character <= high);
    i += is_range ? 3 : 1;
  }
  end = i < pattern.size() ? i + 1 : 0;
  return is_found != is_negated;
}

// Length of the UTF-8 character at the front: what ? and a negated set stand for.
std::size_t character_length(std::string_view text) {
  std::size_t length = 1;
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) ++length;
  return length;
}

// All images below a folder, sorted.
std::vector<fs::path> images_below(const fs::path& folder) {
  std::vector<fs::path> images;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error), end;
  for (; !error && entry != end; entry.increment(error)) {
    std::error_code gone;
    if (is_hidden(entry->path())) {
      entry.disable_recursion_pending();
    } else if (is_image_name(entry->path()) && entry->is_regular_file(gone)) {
      images.push_back(entry->path());
    }
  }
  std::sort(images.begin(), images.end());
  return images;
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  fs::directory_iterator entry(folder.empty() ? "." : folder, error), end;
  for (; !error && entry != end; entry.increment(error)) entries.push_back(folder / entry->path().filename());
  return entries;
}

// Paths that match the parts of a pattern from `part` on, below `base`.
void collect_matches(const fs::path& base, const std::vector<std::string>& parts, std::size_t part,
                     std::vector<fs::path>& matches) {
  if (part == parts.size()) {
    matches.push_back(base);
    return;
  }
  const std::string& pattern = parts[part];
  std::error_code error;
  if (!has_wildcard(pattern)) {
    if (fs::exists(base / pattern, error)) collect_matches(base / pattern, parts, part + 1, matches);
    return;
  }
  const bool crosses_folders = pattern == "**";
  const bool is_last = part + 1 == parts.size();
  if (crosses_folders && !is_last) collect_matches(base, parts, part + 1, matches);
  for (const fs::path& entry : entries_of(base)) {
    if (is_hidden(entry) && !pattern.starts_with('.')) continue;
    if (!matches_pattern(entry.filename().native(), pattern)) continue;
    const bool is_folder = fs::is_directory(entry, error);
    if (crosses_folders && is_folder && !fs::is_symlink(entry, error)) collect_matches(entry, parts, part, matches);
    if (crosses_folders ? is_last && !is_folder : is_last || is_folder) {
      collect_matches(entry, parts, part + 1, matches);
    }
  }
}

std::vector<fs::path> images_matching(const fs::path& pattern) {
  std::vector<std::string> parts;
  for (const fs::path& part : pattern.relative_path()) {
    if (!part.empty()) parts.push_back(part.native());
  }
  std::vector<fs::path> matches, images;
  collect_matches(pattern.root_path(), parts, 0, matches);
  for (const fs::path& match : matches) {
    std::error_code error;
    if (fs::is_directory(match, error)) {
      std::ranges::move(images_below(match), std::back_inserter(images));
    } else if (is_image_name(match)) {
      images.push_back(match);
    }
  }
  std::sort(images.begin(), images.end());
  images.erase(std::unique(images.begin(), images.end()), images.end());
  return images;
}

void add_all(const fs::path& argument, const std::vector<fs::path>& images, const char* error_if_none,
             std::vector<Input>& inputs) {
  if (images.empty()) inputs.push_back({argument, error_if_none});
  for (const fs::path& image : images) inputs.push_back({image, {}});
}

}  // namespace

bool is_image_name(const fs::path& path) {
  constexpr std::array kExtensions = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp"};
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::ranges::find(kExtensions, extension) != kExtensions.end();
}

bool matches_pattern(std::string_view name, std::string_view pattern) {
  // On a mismatch the last * takes one character more: quadratic at worst, unlike recursion over all stars.
  std::size_t n = 0, p = 0, star = std::string_view::npos, star_end = 0;
  while (n < name.size()) {
    std::size_t set_end = 0;
    const std::size_t length = character_length(name.substr(n));
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_end = n;
    } else if (p < pattern.size() && pattern[p] == '?') {
      n += length;
      ++p;
    } else if (p < pattern.size() && pattern[p] == '[' && is_in_set(name[n], pattern.substr(p), set_end) && set_end) {
      n += length;
      p += set_end;
    } else if (p < pattern.size() && pattern[p] == name[n] && (pattern[p] != '[' || set_end == 0)) {
      ++n;
      ++p;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++star_end;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

std::vector<Input> expand_inputs(const std::vector<std::string>& arguments) {
  std::vector<Input> inputs;
  for (const std::string& argument : arguments) {
    const fs::path path = argument;
    std::error_code error;
    if (fs::is_directory(path, error)) {
      add_all(path, images_below(path), "the folder holds no images", inputs);
    } else if (fs::exists(path, error)) {
      inputs.push_back({path, {}});
    } else if (has_wildcard(argument)) {
      add_all(path, images_matching(path), "no image matches the pattern", inputs);
    } else {
      inputs.push_back({path, "no such file or folder"});
    }
  }
  return inputs;
}

}  // namespace vistazo::apps
