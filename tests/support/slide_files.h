#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

// Small slides as scanners write them, to be read back: formats as OpenSlide's documentation describes them.
namespace vistazo::testing {

using Bytes = std::vector<std::uint8_t>;

struct Pixels {
  int width = 0, height = 0;
  Bytes rgb;  // rows dense
};

// Of quality 100, its colours at full resolution. restart_interval: blocks of 8 x 8 pixels between two restart markers;
// 0: none.
Bytes jpeg_of(const Pixels& pixels, int restart_interval = 0);

// Hamamatsu's: a classic TIFF whose links to the next directory have 64 bits, with one JPEG for each level, whose
// restart intervals serve as tiles, and tags of its own.
class NdpiFile {
 public:
  NdpiFile();
  // Largest level first. Sides are multiples of the tiles', which are 8 * restart_interval x 8 pixels.
  void add_level(const Pixels& pixels, float magnification, int restart_interval);
  void write(const std::filesystem::path& path) const;

 private:
  Bytes bytes_;
  std::size_t link_;  // where the place of the next directory is to be written
};

// 3DHISTECH's: NAME.mrxs, which may be empty, beside a folder NAME with an .ini file, an index and the JPEGs. A level
// has half the resolution of the one before, and all levels have square tiles of one size. Background: 50, 50, 50.
class MrxsFile {
 public:
  struct Tile {
    int column, row;  // of the level's tiles
    Pixels pixels;
  };

  MrxsFile(int columns, int rows, int tile) : columns_(columns), rows_(rows), tile_(tile) {}
  void add_level(std::vector<Tile> tiles) { levels_.push_back(std::move(tiles)); }
  void write(const std::filesystem::path& path) const;

 private:
  std::string description() const;

  int columns_, rows_, tile_;
  std::vector<std::vector<Tile>> levels_;
};

}  // namespace vistazo::testing
