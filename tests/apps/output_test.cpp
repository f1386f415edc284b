#include <doctest/doctest.h>
#include <unistd.h>
#include <vistazo/error.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "apps/json_output.h"
#include "apps/output_file.h"
#include "apps/progress.h"

using namespace vistazo;
using namespace vistazo::apps;
namespace fs = std::filesystem;

namespace {

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("vistazo_output_test_" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  fs::path operator/(const char* name) const { return path_ / name; }
  std::ptrdiff_t files() const { return std::distance(fs::directory_iterator(path_), fs::directory_iterator()); }

 private:
  fs::path path_;
};

std::string content(const fs::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace

TEST_CASE("a file appears whole or not at all") {
  const Folder folder;
  const fs::path path = folder / "out.json";
  {
    OutputFile file(path);
    file.write("new");
    CHECK_FALSE(fs::exists(path));
    file.commit();
    CHECK(content(path) == "new");
  }
  {
    OutputFile abandoned(path);
    abandoned.write("half");
  }
  CHECK(content(path) == "new");
  CHECK(folder.files() == 1);
  CHECK_THROWS_AS(OutputFile(folder / "missing/out.json"), Error);
}

TEST_CASE("links and devices are kept") {
  const Folder folder;
  std::ofstream(folder / "target") << "old";
  fs::create_symlink(folder / "target", folder / "link");
  OutputFile link(folder / "link");
  link.write("new");
  link.commit();
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(content(folder / "target") == "new");
  OutputFile null("/dev/null");
  null.write("gone");
  null.commit();
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("a full device is an error") {
  if (!fs::exists("/dev/full")) return;
  OutputFile full("/dev/full");
  const auto write_all = [&] {
    full.write(std::string(1 << 20, 'x'));
    full.commit();
  };
  CHECK_THROWS_AS(write_all(), Error);
}

TEST_CASE("numbers are rounded to what they are worth") {
  CHECK(rounded(1.23456, 2) == 1.23);
  CHECK(rounded(-0.001, 2) == 0.0);
  CHECK_FALSE(std::signbit(rounded(-0.001, 2)));
  const Detection detection = {{0.125f, 1.0f, 99.999f, 3.14159f}, 0.123456f, 1};
  const std::vector<std::string> names = {"a", "b"};
  CHECK(to_text(to_json(detection, names)) ==
        R"({"box":[0.13,1.0,100.0,3.14],"score":0.12346,"class_id":1,"label":"b"})");
}

TEST_CASE("detections are written as JSON that parses, whatever the file names") {
  const Folder folder;
  const fs::path path = folder / "out.json";
  DetectionsJson json(path, "some \"model\"");
  json.add("a b\n\xff.png", 640, 480, {{{1, 2, 3, 4}, 0.5f, 0}}, std::vector<std::string>{"cell"});
  json.add_failure("\xc3\xa9.png", "is bad");
  json.finish();
  const auto read = nlohmann::json::parse(content(path));
  CHECK(read["model"] == "some \"model\"");
  REQUIRE(read["images"].size() == 2);
  CHECK(read["images"][0]["path"] == "a b\n\xef\xbf\xbd.png");
  CHECK(read["images"][0]["detections"][0]["label"] == "cell");
  CHECK(read["images"][1] == nlohmann::json{{"path", "\xc3\xa9.png"}, {"error", "is bad"}});

  DetectionsJson none(path, "m");
  none.finish();
  CHECK(nlohmann::json::parse(content(path))["images"].empty());
}

TEST_CASE("a progress line fits the terminal") {
  for (int columns : {0, 1, 10, 40, 80, 200}) {
    for (std::size_t done : {0, 1, 170, 339}) {
      CHECK(progress_line(done, 339, 12.5, columns).size() <= static_cast<std::size_t>(columns));
    }
  }
  CHECK(progress_line(10, 20, 5.0, 43) == "10/20 [=====>    ]  2.0 images/s  0:05 left");
  CHECK(progress_line(20, 20, 5.0, 43) == "20/20 [==========]  4.0 images/s  0:00 left");
}
