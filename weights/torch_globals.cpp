#include "weights/torch_globals.h"

#include <algorithm>
#include <array>

namespace vistazo {
namespace {

constexpr std::array<TorchElement, 16> kElements{{
    {"FloatStorage", "F32", 4, DType::f32},
    {"HalfStorage", "F16", 2, DType::f16},
    {"BFloat16Storage", "BF16", 2, DType::bf16},
    {"LongStorage", "I64", 8, DType::i64},
    {"IntStorage", "I32", 4, DType::i32},
    {"ByteStorage", "U8", 1, DType::u8},
    {"BoolStorage", "BOOL", 1, DType::boolean},
    {"DoubleStorage", "F64", 8, std::nullopt},
    {"ShortStorage", "I16", 2, std::nullopt},
    {"CharStorage", "I8", 1, std::nullopt},
    {"ComplexFloatStorage", "C64", 8, std::nullopt},
    {"ComplexDoubleStorage", "C128", 16, std::nullopt},
    {"QInt8Storage", "QI8", 1, std::nullopt},
    {"QUInt8Storage", "QU8", 1, std::nullopt},
    {"QInt32Storage", "QI32", 4, std::nullopt},
    {"UntypedStorage", "bytes", 1, std::nullopt},
}};

struct Global {
  std::string_view module, name;
};

// Builders of tensors and tables, which the reader understands; then what training scripts leave beside them, which
// it passes over. Modules of Python 2 are called as protocol 2 writes them.
constexpr std::array kGlobals{
    Global{"torch._utils", "_rebuild_tensor"},
    Global{"torch._utils", "_rebuild_tensor_v2"},
    Global{"torch._utils", "_rebuild_tensor_v3"},
    Global{"torch._utils", "_rebuild_parameter"},
    Global{"torch._utils", "_rebuild_parameter_with_state"},
    Global{"torch._tensor", "_rebuild_from_type_v2"},
    Global{"torch", "Tensor"},
    Global{"torch.nn.parameter", "Parameter"},
    Global{"torch.nn.parameter", "Buffer"},
    Global{"torch", "Size"},
    Global{"torch", "device"},
    Global{"torch.storage", "UntypedStorage"},
    Global{"collections", "OrderedDict"},
    Global{"collections", "defaultdict"},
    Global{"collections", "Counter"},

    Global{"argparse", "Namespace"},
    Global{"types", "SimpleNamespace"},
    Global{"copyreg", "_reconstructor"},
    Global{"copy_reg", "_reconstructor"},
    Global{"_codecs", "encode"},
    Global{"datetime", "date"},
    Global{"datetime", "datetime"},
    Global{"datetime", "timedelta"},
    Global{"numpy", "dtype"},
    Global{"numpy", "ndarray"},
    Global{"numpy.core.multiarray", "scalar"},
    Global{"numpy.core.multiarray", "_reconstruct"},
    Global{"numpy._core.multiarray", "scalar"},
    Global{"numpy._core.multiarray", "_reconstruct"},
};

constexpr std::array<std::string_view, 22> kDtypes{
    "float32",   "float",      "float64", "double", "float16",       "half",       "bfloat16", "uint8",
    "int8",      "int16",      "short",   "int32",  "int",           "int64",      "long",     "bool",
    "complex64", "complex128", "uint16",  "uint32", "float8_e4m3fn", "float8_e5m2"};

// Plain types of Python: as names they are harmless, unlike functions such as eval.
constexpr std::array<std::string_view, 14> kBuiltins{"set",       "frozenset", "list",  "dict",  "tuple",
                                                     "str",       "int",       "float", "bool",  "bytes",
                                                     "bytearray", "complex",   "slice", "object"};

constexpr std::array<std::string_view, 6> kPaths{"Path",     "PosixPath",     "WindowsPath",
                                                 "PurePath", "PurePosixPath", "PureWindowsPath"};

bool is_among(const auto& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

const TorchElement* find_torch_element(std::string_view storage) {
  const auto found = std::ranges::find(kElements, storage, &TorchElement::storage);
  return found == kElements.end() ? nullptr : &*found;
}

bool is_torch_global(std::string_view module, std::string_view name) {
  if (module == "torch" && (find_torch_element(name) || is_among(kDtypes, name))) return true;
  if (module == "builtins" || module == "__builtin__") return is_among(kBuiltins, name);
  if (module == "pathlib" || module == "pathlib._local") return is_among(kPaths, name);
  return std::ranges::any_of(kGlobals, [&](const Global& g) { return g.module == module && g.name == name; });
}

}  // namespace vistazo
