// Mosaics of annotated images, to measure a tiled run against the truth and against its source images run alone:
//
//   mosaic make --images DIR --annotations COCO.json --cells 40 --tiff OUT.tif --truth OUT.json [--names txl]
//   mosaic alone --tiff OUT.tif --truth OUT.json --coco ALONE.json [--model DIR]
//   vistazo tile OUT.tif --coco TILED.json
//   mosaic score --truth OUT.json ALONE.json TILED.json
//
// A mosaic has cells x cells source images, each stretched to 512 x 512 pixels, in a tiled BigTIFF pyramid (JPEG). It
// is to look like a slide: blocks of 4 x 4 cells (--block) show the same image, mirrored from cell to cell so that
// nothing breaks off, and blocks of alike colour lie together (layout.h); --mixed lays blocks out at random. --part 0
// --parts 2 takes every other image, --part 1 the others. score.h says what counts; score tells recall and precision
// everywhere, where windows show one stain only, and of that what more than one window shows: there seams are.
#include <fmt/core.h>
#include <tiffio.h>
#include <vistazo/detector.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "apps/coco_file.h"
#include "apps/json_output.h"
#include "apps/options.h"
#include "apps/outputs/object_writer.h"
#include "apps/scans/scan.h"
#include "tests/tiling/layout.h"
#include "tests/tiling/score.h"

namespace vistazo::apps {
namespace {

constexpr int kCell = kMosaicCell;
constexpr int kLevels[] = {1, 4, 16};  // downsampling

struct Arguments {
  std::string images, annotations, names, tiff, truth, coco, model;
  std::vector<std::string> results;
  int cells = 8;
  int block = 4;            // cells a side that show the same image
  int part = 0, parts = 1;  // every parts-th image from this one on
  unsigned seed = 1;
  bool is_mixed = false;
  int window = 512;  // of the tiled run
  float overlap = 0.2f;
};

void check(bool is_well, const std::string& what) {
  if (!is_well) throw Error(Error::Code::file, what);
}

struct Mosaic {
  int cells;
  std::vector<cv::Mat> sources;
  std::vector<int> order;  // the source of each cell
};

// Columns and rows of odd number are turned over, so that nothing breaks off between two cells of the same image.
bool is_turned(int place) {
  return place % 2 == 1;
}

cv::Mat turned(const cv::Mat& image, bool left_right, bool up_down) {
  cv::Mat result = image;
  if (left_right) cv::flip(result, result, 1);
  if (up_down) cv::flip(result, result, 0);
  return result;
}

// One tile: a cell at full resolution, several of the shrunk ones at lower levels.
cv::Mat compose(const Mosaic& m, const std::vector<cv::Mat>& shrunk, int top, int left, int level) {
  const int side = kCell / level;
  cv::Mat tile(kCell, kCell, CV_8UC3, cv::Scalar::all(255));
  for (int y = 0; y < level && top * level + y < m.cells; ++y) {
    for (int x = 0; x < level && left * level + x < m.cells; ++x) {
      const int row = top * level + y, column = left * level + x;
      const int source = m.order[static_cast<std::size_t>(row * m.cells + column)];
      turned(shrunk[static_cast<std::size_t>(source)].clone(), is_turned(column), is_turned(row))
          .copyTo(tile(cv::Rect(x * side, y * side, side, side)));
    }
  }
  return tile;
}

void write_level(TIFF* tiff, const Mosaic& m, int level) {
  const int side = m.cells * kCell / level, cell = kCell / level;
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, side);
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, side);
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, 8);
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, 3);
  TIFFSetField(tiff, TIFFTAG_TILEWIDTH, kCell);
  TIFFSetField(tiff, TIFFTAG_TILELENGTH, kCell);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_JPEG);
  TIFFSetField(tiff, TIFFTAG_JPEGQUALITY, 92);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_YCBCR);
  TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  if (level > 1) TIFFSetField(tiff, TIFFTAG_SUBFILETYPE, FILETYPE_REDUCEDIMAGE);
  std::vector<cv::Mat> shrunk;
  for (const cv::Mat& source : m.sources) {
    shrunk.emplace_back();
    cv::resize(source, shrunk.back(), {cell, cell}, 0, 0, cv::INTER_AREA);
  }
  const int tiles = (side + kCell - 1) / kCell;
  for (int row = 0; row < tiles; ++row) {
    for (int column = 0; column < tiles; ++column) {
      cv::Mat tile = compose(m, shrunk, row, column, level);
      const auto number = static_cast<std::uint32_t>(row * tiles + column);
      check(TIFFWriteEncodedTile(tiff, number, tile.data, 3 * kCell * kCell) > 0, "a tile cannot be written");
    }
  }
  check(TIFFWriteDirectory(tiff) != 0, "the TIFF cannot be written");
}

std::vector<Colour> colours_of(const std::vector<cv::Mat>& sources) {
  std::vector<Colour> colours;
  for (const cv::Mat& source : sources) {
    const cv::Scalar mean = cv::mean(source);
    colours.push_back({mean[0], mean[1], mean[2]});
  }
  return colours;
}

// The source of each cell, from that of each block.
std::vector<int> spread(const std::vector<int>& layout, int blocks, const Arguments& a) {
  std::vector<int> order;
  for (int row = 0; row < a.cells; ++row) {
    for (int column = 0; column < a.cells; ++column) {
      order.push_back(layout[static_cast<std::size_t>(row / a.block * blocks + column / a.block)]);
    }
  }
  return order;
}

void make(const Arguments& a) {
  const CocoFile data = read_coco_file(a.annotations);
  std::vector<cv::Mat> sources;
  std::vector<cv::Size> sizes;
  std::vector<std::int64_t> ids;
  int place = 0;
  for (const CocoImage& image : data.images) {
    if (image.file_name.find(a.names) != 0 || place++ % a.parts != a.part) continue;
    const cv::Mat stored = cv::imread(a.images + "/" + image.file_name);
    check(!stored.empty(), image.file_name + " cannot be read");
    sources.emplace_back();
    cv::resize(stored, sources.back(), {kCell, kCell}, 0, 0, cv::INTER_AREA);
    cv::cvtColor(sources.back(), sources.back(), cv::COLOR_BGR2RGB);
    sizes.push_back(stored.size());
    ids.push_back(image.id);
  }
  check(!sources.empty(), "no image has such a name");
  const int blocks = (a.cells + a.block - 1) / a.block;
  const std::vector<Colour> colours = colours_of(sources);
  const std::vector<int> layout = a.is_mixed ? layout_mixed(static_cast<int>(sources.size()), blocks, a.seed)
                                             : layout_by_colour(colours, blocks, a.seed);
  const Mosaic mosaic{a.cells, sources, spread(layout, blocks, a)};
  const std::vector<int>& order = mosaic.order;
  const std::unique_ptr<TIFF, decltype(&TIFFClose)> tiff(TIFFOpen(a.tiff.c_str(), "w8"), TIFFClose);
  check(tiff != nullptr, a.tiff + " cannot be created");
  for (const int level : kLevels) write_level(tiff.get(), mosaic, level);

  const int side = a.cells * kCell;
  Json truth = {{"images", Json::array({{{"id", 1}, {"file_name", a.tiff}, {"width", side}, {"height", side}}})},
                {"categories", Json::array()},
                {"cells", a.cells},
                {"block", a.block},
                {"blocks", blocks},
                {"colours", Json::array()},
                {"annotations", Json::array()}};
  for (const int source : layout) truth["colours"].push_back(colours[static_cast<std::size_t>(source)]);
  for (const CocoCategory& c : data.categories) truth["categories"].push_back({{"id", c.id}, {"name", c.name}});
  std::multimap<std::int64_t, const CocoTruth*> of_image;
  for (const CocoTruth& t : data.truths) of_image.emplace(t.image_id, &t);
  for (int cell = 0; cell < a.cells * a.cells; ++cell) {
    const auto source = static_cast<std::size_t>(order[static_cast<std::size_t>(cell)]);
    const double x = static_cast<double>(kCell) / sizes[source].width,
                 y = static_cast<double>(kCell) / sizes[source].height;
    const int row = cell / a.cells, column = cell % a.cells;
    const auto [begin, end] = of_image.equal_range(ids[source]);
    for (auto t = begin; t != end; ++t) {
      const CocoBox& b = t->second->box;
      CocoBox box{b.x * x, b.y * y, b.width * x, b.height * y};
      if (is_turned(column)) box.x = kCell - box.x - box.width;
      if (is_turned(row)) box.y = kCell - box.y - box.height;
      truth["annotations"].push_back({{"id", truth["annotations"].size() + 1},
                                      {"image_id", 1},
                                      {"category_id", t->second->category_id},
                                      {"bbox", {column * kCell + box.x, row * kCell + box.y, box.width, box.height}}});
    }
  }
  write_json(a.truth, truth);
  fmt::print("{}: {} x {} pixels, {} objects of {} images\n", a.tiff, side, side, truth["annotations"].size(),
             sources.size());
}

// Every cell as an image of its own. The same image comes several times: what was found in it is kept by its pixels.
void run_alone(const Arguments& a) {
  const Json truth = Json::parse(std::ifstream(a.truth));
  const int cells = truth.at("cells");
  const Detector detector = Detector::load(a.model.empty() ? default_model() : std::filesystem::path(a.model));
  const Scan scan = open_scan(a.tiff, 1.0);
  const auto writer = make_coco_writer(a.coco, {});
  std::string pixels(3 * kCell * kCell, '\0');
  std::unordered_map<std::size_t, Detections> known;
  for (int cell = 0; cell < cells * cells; ++cell) {
    const int left = cell % cells * kCell, top = cell / cells * kCell;
    auto* bytes = reinterpret_cast<std::uint8_t*>(pixels.data());
    scan.reader->read(left, top, kCell, kCell, bytes, 3 * kCell);
    const auto [found, is_new] = known.try_emplace(std::hash<std::string>()(pixels));
    if (is_new) found->second = detector.detect({bytes, kCell, kCell, 3 * kCell, PixelFormat::rgb8});
    Detections here = found->second;
    for (Detection& d : here) {
      d.box = {d.box.x0 + static_cast<float>(left), d.box.y0 + static_cast<float>(top),
               d.box.x1 + static_cast<float>(left), d.box.y1 + static_cast<float>(top)};
    }
    Finding finding;
    finding.image_id = 1;
    finding.objects = here;
    writer->add(finding);
  }
  writer->finish();
}

void score(const Arguments& a) {
  const CocoFile data = read_coco_file(a.truth);
  const MosaicPlaces places(Json::parse(std::ifstream(a.truth)), a.window, a.overlap);
  struct Part {
    const char* name;
    bool is_one_stain, is_seams;
  };
  for (const Part& part : {Part{"everywhere", false, false},
                           {"where windows show one stain", true, false},
                           {"the same, in several windows", true, true}}) {
    const auto counts = [&](const CocoBox& box) {
      return !places.is_at_border(box) && !(part.is_one_stain && places.shows_two_stains(box)) &&
             !(part.is_seams && !places.is_in_several_windows(box));
    };
    fmt::print("{:28} {:>9} {:>8} {:>9} {:>10} {:>8}\n", part.name, "objects", "recall", "precision", "duplicates",
               "share");
    for (const std::string& path : a.results) {
      const Score s = score_detections(data.truths, read_coco_detections(path), counts, data.categories.front().id);
      fmt::print("{:28} {:9} {:8.4f} {:9.4f} {:10} {:7.2f}%\n", std::filesystem::path(path).filename().string(),
                 s.detections, s.recall(), s.precision(), s.duplicates, 100 * s.duplicate_share());
    }
  }
}

}  // namespace
}  // namespace vistazo::apps

int main(int argc, char** argv) {
  using namespace vistazo::apps;
  CLI::App app("Mosaics with known truth");
  Arguments a;
  app.require_subcommand(1);
  CLI::App* to_make = app.add_subcommand("make");
  to_make->add_option("--images", a.images)->required();
  to_make->add_option("--annotations", a.annotations)->required();
  to_make->add_option("--names", a.names);
  to_make->add_option("--cells", a.cells);
  to_make->add_option("--block", a.block)->check(CLI::PositiveNumber);
  to_make->add_option("--part", a.part);
  to_make->add_option("--parts", a.parts)->check(CLI::PositiveNumber);
  to_make->add_option("--seed", a.seed);
  to_make->add_flag("--mixed", a.is_mixed);
  CLI::App* to_run = app.add_subcommand("alone");
  to_run->add_option("--model", a.model);
  to_run->add_option("--coco", a.coco)->required();
  for (CLI::App* command : {to_make, to_run}) command->add_option("--tiff", a.tiff)->required();
  CLI::App* to_score = app.add_subcommand("score");
  to_score->add_option("RESULTS", a.results)->required();
  to_score->add_option("--window", a.window);
  to_score->add_option("--overlap", a.overlap);
  for (CLI::App* command : {to_make, to_run, to_score}) command->add_option("--truth", a.truth)->required();
  CLI11_PARSE(app, argc, argv);
  try {
    if (to_make->parsed()) make(a);
    if (to_run->parsed()) run_alone(a);
    if (to_score->parsed()) score(a);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "mosaic: {}\n", e.what());
    return 1;
  }
}
