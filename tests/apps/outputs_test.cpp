#include "apps/outputs/outputs.h"

#include <doctest/doctest.h>
#include <vistazo/error.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "apps/outputs/partial_file.h"
#include "tests/support/temporary_folder.h"

namespace vistazo::apps {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kClasses = {"cell, \"round\"", "../rod"};

std::string content(const fs::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

Finding finding_of(const Detections& objects, const std::string& name = "a") {
  Finding finding;
  finding.source = name + ".png";
  finding.name = name;
  finding.image_id = 7;
  finding.width = 200;
  finding.height = 100;
  finding.objects = objects;
  return finding;
}

const Detections kTwo = {{{10, 20, 30.126f, 60}, 0.75f, 1}, {{0, 0, 200, 100}, 0.5f, 0}};

TEST_CASE("a partial file holds at once what was written, and gets its name at the end") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "a.csv", partial = folder.path() / "a.csv.partial";
  CHECK(partial_path(path) == partial);
  {
    PartialFile abandoned(path);
    abandoned.write("1\n");
    CHECK(content(partial) == "1\n");
    CHECK_FALSE(fs::exists(path));
  }
  CHECK(content(partial) == "1\n");
  PartialFile continued(path, PartialFile::Start::append);
  continued.write("2\n");
  continued.commit();
  CHECK(content(path) == "1\n2\n");
  CHECK_FALSE(fs::exists(partial));
  CHECK_THROWS_AS(PartialFile(folder.path() / "missing/a"), Error);
  fs::create_symlink(path, folder.path() / "link");
  PartialFile link(folder.path() / "link");
  link.commit();
  CHECK(fs::is_symlink(folder.path() / "link"));
  CHECK(content(path).empty());
}

TEST_CASE("CSV: a line for each object, quoted where it must be") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "a.csv";
  const auto writer = make_csv_writer(path, kClasses, false);
  writer->add(finding_of(kTwo));
  CHECK(content(partial_path(path)).size() > 60);
  writer->finish();
  CHECK(content(path) ==
        "image,label,class_id,score,x0,y0,x1,y1\n"
        "a.png,../rod,1,0.75,10,20,30.13,60\n"
        "a.png,\"cell, \"\"round\"\"\",0,0.5,0,0,200,100\n");
  const auto frames = make_csv_writer(path, kClasses, true);
  Finding frame = finding_of(kTwo);
  frame.frame = 17;
  frames->add(frame);
  frames->finish();
  CHECK(content(path).find("image,frame,label") == 0);
  CHECK(content(path).find("a.png,17,../rod,1,") != std::string::npos);
}

TEST_CASE("COCO results: categories of classes, none for a class without") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "a.json";
  const auto writer = make_coco_writer(path, {-1, 42});
  writer->add(finding_of(kTwo));
  writer->add(finding_of({}));
  writer->finish();
  const auto results = nlohmann::json::parse(content(path));
  REQUIRE(results.size() == 1);
  CHECK(results[0] ==
        nlohmann::json{{"image_id", 7}, {"category_id", 42}, {"bbox", {10, 20, 20.13, 40}}, {"score", 0.75}});
  const auto plain = make_coco_writer(path, {});
  plain->add(finding_of(kTwo));
  plain->finish();
  CHECK(nlohmann::json::parse(content(path))[1]["category_id"] == 0);
}

TEST_CASE("YOLO: a file for each image, whatever its parts") {
  const testing::TemporaryFolder folder;
  const fs::path labels = folder.path() / "new/labels";
  const auto writer = make_yolo_writer(labels, kClasses);
  writer->add(finding_of(kTwo));
  Finding part = finding_of(kTwo, "scan");
  part.is_last_part = false;
  writer->add(part);
  CHECK(fs::exists(labels / "scan.txt.partial"));
  part.is_last_part = true;
  writer->add(part);
  writer->add(finding_of({}, "classes"));
  writer->finish();
  CHECK(content(labels / "classes.txt") == kClasses[0] + "\n" + kClasses[1] + "\n");
  CHECK(content(labels / "classes_2.txt").empty());
  const std::string lines = content(labels / "a.txt");
  CHECK(lines == "1 0.1003150 0.4000000 0.1006300 0.4000000\n0 0.5000000 0.5000000 1.0000000 1.0000000\n");
  CHECK(content(labels / "scan.txt") == lines + lines);
}

TEST_CASE("GeoJSON: polygons with class and score, from an origin") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "a.geojson";
  const auto writer = make_geojson_writer(path, kClasses, 5, 10);
  writer->add(finding_of(kTwo));
  writer->finish();
  const auto json = nlohmann::json::parse(content(path));
  REQUIRE(json["features"].size() == 2);
  const auto& feature = json["features"][0];
  CHECK(feature["geometry"]["type"] == "Polygon");
  CHECK(feature["geometry"]["coordinates"] ==
        nlohmann::json::array({{{5, 10}, {25.13, 10}, {25.13, 50}, {5, 50}, {5, 10}}}));
  CHECK(feature["properties"]["objectType"] == "detection");
  CHECK(feature["properties"]["classification"]["name"] == "../rod");
  CHECK(feature["properties"]["classification"]["color"].size() == 3);
  CHECK(feature["properties"]["measurements"]["score"] == 0.75);
}

#ifdef VISTAZO_HAS_OPENCV
TEST_CASE("crops: the pixels of each object, in a folder of its class") {
  const testing::TemporaryFolder folder;
  const auto pixels = std::make_shared<std::vector<std::uint8_t>>(3 * 200 * 100);
  for (std::size_t i = 0; i < pixels->size(); ++i) (*pixels)[i] = static_cast<std::uint8_t>(i * 7);
  const Picture picture{std::shared_ptr<std::uint8_t>(pixels, pixels->data()), 200, 100, 600, true};
  Finding finding = finding_of(kTwo);
  finding.pixels = [&](const Rect& part) { return cut_picture(picture, part); };
  const auto writer = make_crop_writer(folder.path() / "crops", kClasses, true);
  writer->add(finding);
  writer->finish();
  const Picture crop = read_picture(folder.path() / "crops/_.._rod/a_1.png");
  REQUIRE(crop.width == 21);
  REQUIRE(crop.height == 40);
  CHECK(crop.pixels.get()[0] == picture.pixels.get()[20 * 600 + 3 * 10]);
  CHECK(crop.pixels.get()[39 * crop.row_bytes + 62] == picture.pixels.get()[59 * 600 + 3 * 30 + 2]);
  CHECK(read_picture(folder.path() / "crops" / kClasses[0] / "a_2.png").width == 200);
}
#endif

TEST_CASE("ids of images come from annotations, from numbers in names, or count") {
  const testing::TemporaryFolder folder;
  const fs::path annotations = folder.path() / "a.json";
  std::ofstream(annotations) << R"({"images": [{"id": 5, "file_name": "a.png"}, {"id": 9, "file_name": "val/a.png"}],
                                    "categories": [{"id": 3, "name": "../ROD"}], "annotations": []})";
  const std::vector<Input> inputs = {{"x/a.png", ""}, {"x/val/a.png", ""}};
  OutputOptions options;
  options.coco_ids = annotations;
  CHECK(coco_image_ids(options, inputs) == std::vector<std::int64_t>{5, 9});
  CHECK_THROWS_AS(coco_image_ids(options, {{"b.png", ""}}), Error);
  CHECK(coco_image_ids({}, {{"b.png", ""}, {"0000139.jpg", ""}, {"3d.png", ""}}) ==
        std::vector<std::int64_t>{1, 139, 3});
  options.coco = folder.path() / "out.json";
  Outputs outputs(options, kClasses, false);
  outputs.add(finding_of(kTwo));
  outputs.finish();
  const auto results = nlohmann::json::parse(content(options.coco));
  REQUIRE(results.size() == 1);
  CHECK(results[0]["category_id"] == 3);
}

TEST_CASE("names of a run differ in more than case") {
  UniqueNames names;
  CHECK(names.next("cat") == "cat");
  CHECK(names.next("Cat") == "Cat_2");
  CHECK(names.next("cat_2") == "cat_2_2");
}

}  // namespace
}  // namespace vistazo::apps
