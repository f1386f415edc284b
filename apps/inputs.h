#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace vistazo::apps {

// One image to be read, or an argument that names none.
struct Input {
  std::filesystem::path path;
  std::string error;  // empty: an image file is to be expected at path
};

// Whether the extension is that of an image format that vistazo reads, in any case.
bool is_image_name(const std::filesystem::path& path);

// Whether a name, without slashes, matches a pattern of *, ?, [abc], [a-z] and [!abc].
bool matches_pattern(std::string_view name, std::string_view pattern);

// The images that the arguments name, in the order of the arguments. A file is taken as it is, whatever its name. A
// folder stands for all images below it, a pattern (** crosses folders) for all that it matches, each sorted by path;
// hidden files and folders are left out. An argument that names no image gives one Input with an error.
std::vector<Input> expand_inputs(const std::vector<std::string>& arguments);

}  // namespace vistazo::apps
