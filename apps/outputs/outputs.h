#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/inputs.h"
#include "apps/outputs/object_writer.h"

namespace vistazo::apps {

// What --coco, --coco-ids, --yolo, --csv and --crops say; an empty path: not asked for.
struct OutputOptions {
  std::string coco, coco_ids, yolo, csv, crops;
};

void add_output_options(CLI::App& command, OutputOptions& options);

// The files and folders that were asked for, as one writer.
class Outputs {
 public:
  // Throws Error{file} for what cannot be created or read. has_frames: the findings are frames of videos.
  Outputs(const OutputOptions& options, const std::vector<std::string>& class_names, bool has_frames,
          bool crops_are_lossless = false);

  void add(std::unique_ptr<ObjectWriter> writer) { writers_.push_back(std::move(writer)); }
  bool is_empty() const { return writers_.empty(); }
  void add(const Finding& finding);
  void finish();

 private:
  std::vector<std::unique_ptr<ObjectWriter>> writers_;
};

// The id in COCO results of each input: what the annotation file has for it (by the path's last parts), or without an
// annotation file the number that is the file's name, or its place among the inputs from 1 on.
// Throws Error{argument} naming an image that the annotation file does not have.
std::vector<std::int64_t> coco_image_ids(const OutputOptions& options, const std::vector<Input>& inputs);

// Part of a picture, which shares its memory.
Picture cut_picture(const Picture& picture, const Rect& part);

}  // namespace vistazo::apps
