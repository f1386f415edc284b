#include "weights/torch_tensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/base/error.h"
#include "weights/printable.h"

namespace vistazo {
namespace {

using Id = Pickle::Id;
using Kind = Pickle::Kind;

constexpr std::size_t kMostTensors = 131'072, kLongestName = 1024, kMostDimensions = 16;  // as for safetensors
constexpr int kDeepestWrap = 8;  // of a tensor in a parameter in a subclass

bool is_global(const Pickle& pickle, Id id, std::string_view module, std::string_view name) {
  const Pickle::Value& value = pickle[id];
  return value.kind == Kind::global && value.text == module && value.name == name;
}

// An argument of a call; none behind the last one.
Id argument(const Pickle& pickle, const Pickle::Value& call, std::size_t index) {
  const Pickle::Value& arguments = pickle[call.arguments];
  return arguments.kind == Kind::list && index < arguments.items.size() ? arguments.items[index] : Pickle::kNone;
}

// How a value builds a tensor.
struct Rebuilt {
  Id storage = Pickle::kNone, offset = Pickle::kNone, shape = Pickle::kNone, strides = Pickle::kNone;
  std::string_view dtype;  // of _rebuild_tensor_v3, whose storage has none
};

Rebuilt from_arguments(const Pickle& pickle, std::string_view function, std::span<const Id> arguments) {
  if (arguments.size() < 4) return {};
  Rebuilt rebuilt{arguments[0], arguments[1], arguments[2], arguments[3], {}};
  if (function == "_rebuild_tensor_v3" && arguments.size() > 6) rebuilt.dtype = pickle[arguments[6]].name;
  return rebuilt;
}

// Nothing if the value is no tensor.
std::optional<Rebuilt> find_rebuilt(const Pickle& pickle, Id id) {
  for (int depth = 0; depth < kDeepestWrap; ++depth) {
    const Pickle::Value& value = pickle[id];
    if (value.kind != Kind::call || pickle[value.callable].kind != Kind::global) return {};
    const std::string_view module = pickle[value.callable].text, name = pickle[value.callable].name;
    if (module == "torch._utils" && name.starts_with("_rebuild_tensor")) {
      return from_arguments(pickle, name, pickle[value.arguments].items);
    }
    if (module == "torch._tensor" && name == "_rebuild_from_type_v2") {  // (function, type, arguments, state)
      const Pickle::Value& function = pickle[argument(pickle, value, 0)];
      if (function.kind != Kind::global || !function.name.starts_with("_rebuild_tensor")) return {};
      return from_arguments(pickle, function.name, pickle[argument(pickle, value, 2)].items);
    }
    if (module != "torch._utils" || !name.starts_with("_rebuild_parameter")) return {};
    id = argument(pickle, value, 0);
  }
  return {};
}

class TensorCollector {
 public:
  TensorCollector(const Pickle& pickle, const FindStorage& find_storage, std::uint64_t gather_limit,
                  const std::string& source)
      : pickle_(pickle), find_storage_(find_storage), gather_left_(gather_limit), source_(source) {}

  void add(std::string name, Id value) {
    if (result_.table.tensors.size() + result_.table.unsupported.size() == kMostTensors) {
      fail(Error::Code::file, "{}: more than {} tensors", source_, kMostTensors);
    }
    if (name.size() > kLongestName) {
      fail(Error::Code::file, "{}: tensor name {} is longer than {} bytes", source_, in_quotes(name), kLongestName);
    }
    name_ = std::move(name);
    const Rebuilt rebuilt = *find_rebuilt(pickle_, value);
    if (!rebuilt.dtype.empty()) {
      result_.table.unsupported.push_back({name_, std::string(rebuilt.dtype)});
      return;
    }
    const StorageReference storage = read_storage_reference(pickle_, rebuilt.storage, source_);
    CheckpointTensor tensor{name_, storage.element->dtype.value_or(DType::u8), sizes(rebuilt.shape, "shape"), {}};
    tensor.bytes =
        bytes_of(storage, natural(rebuilt.offset, "offset"), tensor.shape, sizes(rebuilt.strides, "strides"));
    if (storage.element->dtype) {
      result_.table.tensors.push_back(std::move(tensor));
    } else {
      result_.table.unsupported.push_back({name_, std::string(storage.element->name)});
    }
  }

  TorchTensors take() {
    const auto sort = [&](auto& tensors) {
      std::ranges::sort(tensors, {}, [](const auto& t) -> const std::string& { return t.name; });
    };
    sort(result_.table.tensors);
    sort(result_.table.unsupported);
    return std::move(result_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    const std::string problem = fmt::format(format, std::forward<Args>(args)...);
    fail(Error::Code::file, "{}: tensor {}: {}", source_, in_quotes(name_), problem);
  }

  std::int64_t natural(Id id, const char* what) const {
    const Pickle::Value& value = pickle_[id];
    if (value.kind != Kind::integer || value.integer < 0)
      refuse("its {} holds something else than numbers from 0", what);
    return value.integer;
  }

  std::vector<std::int64_t> sizes(Id id, const char* what) const {
    if (pickle_[id].kind == Kind::call && is_global(pickle_, pickle_[id].callable, "torch", "Size")) {
      id = argument(pickle_, pickle_[id], 0);
    }
    const Pickle::Value& list = pickle_[id];
    if (list.kind != Kind::list) refuse("its {} is no tuple", what);
    if (list.items.size() > kMostDimensions) refuse("its {} has more than {} dimensions", what, kMostDimensions);
    std::vector<std::int64_t> values;
    for (const Id item : list.items) values.push_back(natural(item, what));
    return values;
  }

  // Of a view, from the innermost axis on, without those of length 1, whose strides may be any number.
  struct Axis {
    std::int64_t length, stride, index = 0;
  };

  // The tensor's elements in a row: those of the storage, or gathered into a buffer.
  std::span<const std::byte> bytes_of(const StorageReference& storage, std::int64_t offset,
                                      const std::vector<std::int64_t>& shape,
                                      const std::vector<std::int64_t>& strides) {
    if (shape.size() != strides.size()) refuse("{} dimensions, {} strides", shape.size(), strides.size());
    std::int64_t count = 1, last = offset;  // elements; index of the last one
    std::vector<Axis> axes;
    bool is_empty = false, is_contiguous = true, is_overflow = false;
    for (std::size_t i = shape.size(); i-- > 0;) {
      is_empty = is_empty || shape[i] == 0;
      if (shape[i] <= 1) continue;
      is_contiguous = is_contiguous && strides[i] == count;
      std::int64_t reach = 0;
      is_overflow = is_overflow || __builtin_mul_overflow(shape[i] - 1, strides[i], &reach) ||
                    __builtin_add_overflow(last, reach, &last) || __builtin_mul_overflow(count, shape[i], &count);
      axes.push_back({shape[i], strides[i]});
    }
    if (is_overflow) refuse("its shape or strides are too large");
    const std::span<const std::byte> all = find_storage_(storage);
    if (is_empty) return {};
    if (static_cast<std::uint64_t>(last) >= storage.elements || static_cast<std::uint64_t>(count) > storage.elements) {
      refuse("{} elements up to index {} of a storage that has {}", count, last, storage.elements);
    }
    const std::size_t size = storage.element->bytes;
    const std::span<const std::byte> from = all.subspan(static_cast<std::size_t>(offset) * size);
    if (is_contiguous) return from.first(static_cast<std::size_t>(count) * size);
    return gather(from, static_cast<std::size_t>(count), size, std::move(axes));
  }

  // The elements of a view in a row, in its order.
  std::span<const std::byte> gather(std::span<const std::byte> from, std::size_t count, std::size_t size,
                                    std::vector<Axis> axes) {
    if (count * size > gather_left_) {
      fail(Error::Code::file, "{}: its views would need more memory than its size allows", source_);
    }
    gather_left_ -= count * size;
    std::vector<std::byte>& buffer = result_.buffers.emplace_back(count * size);
    std::int64_t at = 0;
    for (std::size_t i = 0; i < count; ++i) {
      std::memcpy(buffer.data() + i * size, from.data() + static_cast<std::size_t>(at) * size, size);
      for (Axis& axis : axes) {
        at += axis.stride;
        if (++axis.index < axis.length) break;
        at -= axis.length * axis.stride;
        axis.index = 0;
      }
    }
    return buffer;
  }

  const Pickle& pickle_;
  const FindStorage& find_storage_;
  std::uint64_t gather_left_;
  const std::string& source_;
  std::string name_;
  TorchTensors result_;
};

// The items of a dict or an OrderedDict: key, value, key, value, ...; empty for anything else.
std::span<const Id> pairs_of(const Pickle& pickle, Id id) {
  const Pickle::Value& value = pickle[id];
  const bool is_ordered = value.kind == Kind::call && pickle[value.callable].text == "collections";
  if ((value.kind != Kind::dict && !is_ordered) || value.items.size() % 2 != 0) return {};
  return value.items;
}

bool is_named(const Pickle& pickle, Id key, std::string_view name) {
  return pickle[key].kind == Kind::text && pickle[key].text == name;
}

// The last value under a key, as Python has it; None if there is none.
Id lookup(const Pickle& pickle, Id dict, std::string_view key) {
  Id found = Pickle::kNone;
  const std::span<const Id> pairs = pairs_of(pickle, dict);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    if (is_named(pickle, pairs[i], key)) found = pairs[i + 1];
  }
  return found;
}

std::size_t count_tensors(const Pickle& pickle, Id dict) {
  std::size_t count = 0;
  const std::span<const Id> pairs = pairs_of(pickle, dict);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    count += pickle[pairs[i]].kind == Kind::text && find_rebuilt(pickle, pairs[i + 1]);
  }
  return count;
}

struct Part {
  Id dict = Pickle::kNone;
  std::string name;
  std::size_t tensors = 0;
};

// The first of the keys that leads to tensors, directly or one step further.
Part find_part(const Pickle& pickle, std::span<const std::string_view> keys) {
  constexpr std::array<std::string_view, 3> kInner{"module", "model", "state_dict"};
  for (const std::string_view key : keys) {
    const Id outer = lookup(pickle, pickle.root(), key);
    if (const std::size_t count = count_tensors(pickle, outer)) return {outer, std::string(key), count};
    for (const std::string_view inner_key : kInner) {
      const Id inner = lookup(pickle, outer, inner_key);
      if (const std::size_t count = count_tensors(pickle, inner)) {
        return {inner, std::string(key) + "." + std::string(inner_key), count};
      }
    }
  }
  return {};
}

Part find_weights(const Pickle& pickle) {
  constexpr std::array<std::string_view, 6> kAveraged{"ema",       "ema_state_dict", "ema_model",
                                                      "model_ema", "params_ema",     "ema_weights"};
  constexpr std::array<std::string_view, 6> kPlain{"model",  "state_dict", "model_state_dict",
                                                   "params", "net",        "module"};
  Part averaged = find_part(pickle, kAveraged), plain = find_part(pickle, kPlain);
  // Averages of the parameters alone lack the statistics of batch norms.
  if (averaged.tensors > 0 && averaged.tensors >= plain.tensors) return averaged;
  if (plain.tensors > 0) return plain;
  return {pickle.root(), "", count_tensors(pickle, pickle.root())};
}

// What wrappers (data parallel, torch.compile) put before every name.
std::size_t common_prefix(std::span<const std::string_view> names) {
  std::size_t length = 0;
  for (bool is_longer = true; is_longer;) {
    is_longer = false;
    for (const std::string_view prefix : {"module.", "_orig_mod."}) {
      if (!std::ranges::all_of(names, [&](std::string_view n) { return n.substr(length).starts_with(prefix); }))
        continue;
      length += prefix.size();
      is_longer = true;
    }
  }
  return length;
}

}  // namespace

StorageReference read_storage_reference(const Pickle& pickle, Id id, const std::string& source) {
  const auto refuse = [&](std::string_view problem) {
    fail(Error::Code::file, "{}: a storage of its pickle {}", source, problem);
  };
  if (pickle[id].kind != Kind::persistent) refuse("is something else");
  const Pickle::Value& reference = pickle[pickle[id].arguments];
  const auto item = [&](std::size_t index) -> const Pickle::Value& { return pickle[reference.items[index]]; };
  if (reference.kind != Kind::list || reference.items.size() < 5 || item(0).text != "storage" ||
      item(1).kind != Kind::global || item(2).kind != Kind::text || item(4).kind != Kind::integer) {
    refuse("is not (\"storage\", type, key, location, elements)");
  }
  StorageReference storage{item(2).text, find_torch_element(item(1).name), static_cast<std::uint64_t>(item(4).integer),
                           0};
  if (!storage.element) refuse("is of type " + in_quotes(item(1).name) + ", which is none");
  constexpr std::int64_t kMost = std::int64_t{1} << 48;  // so that bytes do not overflow
  if (item(4).integer < 0 || item(4).integer > kMost) refuse("has an impossible number of elements");
  if (reference.items.size() > 5 && item(5).kind == Kind::list) {  // (key of the view, offset, elements)
    const Pickle::Value& view = item(5);
    const auto number = [&](std::size_t i) {
      return i < view.items.size() && pickle[view.items[i]].kind == Kind::integer ? pickle[view.items[i]].integer : -1;
    };
    const std::int64_t all = item(4).integer, offset = number(1), elements = number(2);
    if (offset < 0 || elements < 0 || offset > all || elements > all - offset)
      refuse("has a view that reaches behind it");
    storage.view_offset = static_cast<std::uint64_t>(offset);
    storage.elements = static_cast<std::uint64_t>(elements);
  }
  return storage;
}

TorchTensors collect_tensors(const Pickle& pickle, const FindStorage& find_storage, std::uint64_t gather_limit,
                             const std::string& source) {
  const Part part = find_weights(pickle);
  if (part.tensors == 0) {
    fail(Error::Code::file,
         "{}: has no table of tensors, neither by itself nor under ema, model, state_dict or params; save "
         "model.state_dict()",
         source);
  }
  std::vector<std::string_view> names;
  std::vector<Id> values;
  const std::span<const Id> pairs = pairs_of(pickle, part.dict);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    if (pickle[pairs[i]].kind != Kind::text || !find_rebuilt(pickle, pairs[i + 1])) continue;
    names.push_back(pickle[pairs[i]].text);
    values.push_back(pairs[i + 1]);
  }
  std::vector<std::string_view> sorted = names;
  std::ranges::sort(sorted);
  const auto twice = std::ranges::adjacent_find(sorted);
  if (twice != sorted.end()) fail(Error::Code::file, "{}: tensor {} appears twice", source, in_quotes(*twice));

  const std::size_t prefix = common_prefix(names);
  TensorCollector collector(pickle, find_storage, gather_limit, source);
  for (std::size_t i = 0; i < names.size(); ++i) collector.add(std::string(names[i].substr(prefix)), values[i]);
  TorchTensors tensors = collector.take();
  tensors.part = part.name;
  return tensors;
}

}  // namespace vistazo
