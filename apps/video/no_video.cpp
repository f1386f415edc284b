// Stands in for the command in a build without FFmpeg's libraries.
#include <vistazo/error.h>

#include "apps/commands.h"

namespace vistazo::apps {

void add_video_command(CLI::App& app, Run& run) {
  CLI::App* command = app.add_subcommand("video", "Not in this build: it needs OpenCV and FFmpeg's libraries");
  command->allow_extras();
  command->callback([&run] {
    run = []() -> int {
      throw Error(Error::Code::unsupported, "this build reads no videos: it was configured without OpenCV or FFmpeg");
    };
  });
}

}  // namespace vistazo::apps
