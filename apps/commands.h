#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace vistazo::apps {

constexpr int kAllWell = 0;
constexpr int kSomeInputFailed = 1;
constexpr int kUsageOrModelError = 2;

// What the chosen subcommand does; returns the exit code, or throws Error.
using Run = std::function<int()>;

// Each adds one subcommand, which sets `run` when it is chosen.
void add_detect_command(CLI::App& app, Run& run);
void add_video_command(CLI::App& app, Run& run);
void add_eval_command(CLI::App& app, Run& run);
void add_forward_command(CLI::App& app, Run& run);
void add_inspect_command(CLI::App& app, Run& run);
void add_tile_command(CLI::App& app, Run& run);
void add_bench_command(CLI::App& app, Run& run);
void add_convert_command(CLI::App& app, Run& run);

}  // namespace vistazo::apps
