#pragma once

#include <nlohmann/json_fwd.hpp>

namespace vistazo {

// id2label of a config.json for a model of `classes` classes that comes without names: COCO's names for 80 classes
// (contiguous) and 91 (COCO's own category ids, 1 to 90 with gaps), "class 7" for other counts and in gaps.
nlohmann::json default_labels(int classes);

}  // namespace vistazo
