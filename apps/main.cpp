#include <fmt/core.h>
#include <vistazo/version.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <string>

#include "apps/commands.h"

namespace vistazo::apps {
namespace {

// Shell scripts read errors line by line.
int report_error(std::string message) {
  std::ranges::replace(message, '\n', ' ');
  while (message.ends_with(' ')) message.pop_back();
  fmt::print(stderr, "vistazo: {}\n", message);
  return kUsageOrModelError;
}

int run_command_line(int argc, char** argv) {
  CLI::App app("Transformer object detection: checkpoint in, boxes out.", "vistazo");
  app.set_version_flag("--version", std::string("vistazo ") + kVersion);
  app.require_subcommand(1);
  app.footer(
      "'vistazo SUBCOMMAND --help' shows options and examples.\n"
      "Exit code: 0 all well, 1 some input failed, 2 wrong usage or model.");
  Run run;
  add_detect_command(app, run);
  add_video_command(app, run);
  add_tile_command(app, run);
  add_eval_command(app, run);
  add_forward_command(app, run);
  add_inspect_command(app, run);
  add_bench_command(app, run);
  add_convert_command(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help and --version
    return report_error(fmt::format("{} (--help shows the usage)", e.what()));
  }
  const int code = run();
  if (std::fflush(stdout) != 0) return report_error("standard output cannot be written");
  return code;
}

}  // namespace
}  // namespace vistazo::apps

int main(int argc, char** argv) {
  using namespace vistazo::apps;
  try {
    return run_command_line(argc, argv);
  } catch (const std::bad_alloc&) {
    return report_error("out of memory");
  } catch (const std::exception& e) {
    return report_error(e.what());
  }
}
