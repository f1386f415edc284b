#include "apps/inputs.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "apps/save_names.h"

using namespace vistazo::apps;
namespace fs = std::filesystem;

namespace {

// A folder of empty files, removed at the end.
class Tree {
 public:
  explicit Tree(const std::vector<std::string>& files)
      : root_(fs::temp_directory_path() / ("vistazo_inputs_test_" + std::to_string(::getpid()))) {
    for (const std::string& file : files) {
      fs::create_directories((root_ / file).parent_path());
      std::ofstream(root_ / file) << ".";
    }
  }
  ~Tree() { fs::remove_all(root_); }

  std::string at(const std::string& path) const { return (root_ / path).string(); }
  const fs::path& root() const { return root_; }

  // What an argument expands to, relative to the folder; "!" stands for an error.
  std::vector<std::string> expanded(const std::string& argument) const {
    std::vector<std::string> paths;
    for (const Input& input : expand_inputs({at(argument)})) {
      paths.push_back(input.error.empty() ? fs::relative(input.path, root_).string() : "!");
    }
    return paths;
  }

 private:
  fs::path root_;
};

using Paths = std::vector<std::string>;

}  // namespace

TEST_CASE("patterns match names") {
  CHECK(matches_pattern("cat.png", "*.png"));
  CHECK(matches_pattern("cat.png", "c?t.*"));
  CHECK(matches_pattern("cat.png", "[a-c]at.png"));
  CHECK(matches_pattern("cat.png", "[!d]at.png"));
  CHECK(matches_pattern("", "*"));
  CHECK(matches_pattern("a]b", "a[]]b"));
  CHECK(matches_pattern("a[b", "a[b"));  // not closed: an ordinary character
  CHECK(matches_pattern("aXbXc", "*X*c"));
  CHECK(matches_pattern("\xc3\xa9t\xc3\xa9.png", "?t?.png"));  // a character of two bytes
  CHECK_FALSE(matches_pattern("cat.png", "*.jpg"));
  CHECK_FALSE(matches_pattern("cat.png", "cat"));
  CHECK_FALSE(matches_pattern("cat", "cat?"));
  CHECK_FALSE(matches_pattern("[", "[a]"));
  CHECK_FALSE(matches_pattern("cat.png", ""));
  CHECK_FALSE(matches_pattern(std::string(5000, 'a'), "*a*a*a*a*a*a*a*b"));  // in no time
}

TEST_CASE("image names") {
  for (const char* name : {"a.jpg", "a.JPEG", "b.Png", "c.tif", "d.TIFF", "e.webp", "f.bmp"})
    CHECK(is_image_name(name));
  for (const char* name : {"a.txt", "jpg", "a.jpg.json", ".png", "a."}) CHECK_FALSE(is_image_name(name));
}

TEST_CASE("folders and patterns give sorted images") {
  const Tree tree({"b.png", "a.JPG", "note.txt", "deep/er/c.tif", "deep/d.webp", ".hidden/e.png", ".f.png",
                   "with space/g.bmp", "\xc3\xb1u/h.png", "odd[1].png", "none/readme.md"});
  const std::string nu = "\xc3\xb1u/h.png";
  CHECK(tree.expanded("") ==
        Paths{"a.JPG", "b.png", "deep/d.webp", "deep/er/c.tif", "odd[1].png", "with space/g.bmp", nu});
  CHECK(tree.expanded("*.png") == Paths{"b.png", "odd[1].png"});
  CHECK(tree.expanded("?.*") == Paths{"a.JPG", "b.png"});
  CHECK(tree.expanded("**/*.tif") == Paths{"deep/er/c.tif"});
  CHECK(tree.expanded("**/d.*") == Paths{"deep/d.webp"});
  CHECK(tree.expanded("deep/**") == Paths{"deep/d.webp", "deep/er/c.tif"});
  CHECK(tree.expanded("d*") == Paths{"deep/d.webp", "deep/er/c.tif"});  // a folder that matches stands for its images
  CHECK(tree.expanded("*/g.bmp") == Paths{"with space/g.bmp"});
  CHECK(tree.expanded("[ab].*") == Paths{"a.JPG", "b.png"});
  CHECK(tree.expanded("odd[1].png") == Paths{"odd[1].png"});  // a file of that very name comes first
  CHECK(tree.expanded("note.txt") == Paths{"note.txt"});      // named by hand: it is for the reader to refuse
  CHECK(tree.expanded("*.txt") == Paths{"!"});
  CHECK(tree.expanded("none") == Paths{"!"});
  CHECK(tree.expanded("missing.png") == Paths{"!"});
  CHECK(tree.expanded("missing/*.png") == Paths{"!"});
}

TEST_CASE("arguments keep their order") {
  const Tree tree({"a.png", "b.png"});
  const std::vector<Input> inputs = expand_inputs({tree.at("b.png"), tree.at("nothing"), tree.at("a.png")});
  REQUIRE(inputs.size() == 3);
  CHECK(inputs[0].path == tree.at("b.png"));
  CHECK(inputs[1].error == "no such file or folder");
  CHECK(inputs[2].path == tree.at("a.png"));
}

TEST_CASE("annotated pictures get names of their own") {
  const Tree tree({"in/x.jpg", "in/y.png"});
  SaveNames apart(tree.root() / "out", {});
  const auto name = [&](SaveNames& names, const char* input, bool is_lossless) {
    return names.next(input, is_lossless).filename().string();
  };
  CHECK(name(apart, "a/cat.jpg", false) == "cat.jpg");
  CHECK(name(apart, "b/cat.jpeg", false) == "cat_2.jpg");
  CHECK(name(apart, "c/CAT.jpg", false) == "CAT_3.jpg");
  CHECK(name(apart, "a/cat.tif", true) == "cat.png");
  CHECK(fs::is_directory(tree.root() / "out"));

  SaveNames beside(tree.root() / "in", expand_inputs({tree.at("in")}));  // the inputs' own folder
  CHECK(name(beside, "in/x.jpg", false) == "x_2.jpg");
  CHECK(name(beside, "in/y.png", true) == "y_2.png");
}
