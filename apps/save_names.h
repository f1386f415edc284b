#pragma once

#include <filesystem>
#include <vector>

#include "apps/inputs.h"
#include "apps/outputs/object_writer.h"

namespace vistazo::apps {

// Names for the annotated pictures: a/cat.tif and b/cat.png become cat.png and cat_2.png. No name is given twice, not
// even in another case, and none is that of an input.
class SaveNames {
 public:
  // Creates the folder. Throws Error{file} if that fails.
  SaveNames(const std::filesystem::path& folder, const std::vector<Input>& inputs);

  // .png for a losslessly stored picture, else .jpg.
  std::filesystem::path next(const std::filesystem::path& input, bool is_lossless);

 private:
  std::filesystem::path folder_;
  UniqueNames names_;
};

}  // namespace vistazo::apps
