#include "weights/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "kernels/base/error.h"
#include "weights/printable.h"

namespace vistazo {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is used in place, as little-endian");

using Json = nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // the reference reader's limit
constexpr std::size_t kMostTensors = 131'072;          // the largest public models have about 90,000
constexpr std::size_t kLongestName = 1024;
constexpr std::size_t kMostDimensions = 16;
constexpr std::size_t kLongestToken = std::size_t{16} << 20;  // training notes in __metadata__ reach megabytes

struct StoredType {
  std::string_view name;
  unsigned bits;
  std::optional<DType> dtype;  // none: the format has it, this library does not
};

constexpr std::array<StoredType, 20> kStoredTypes{{
    {"F32", 32, DType::f32},      {"F16", 16, DType::f16},      {"BF16", 16, DType::bf16},
    {"I64", 64, DType::i64},      {"I32", 32, DType::i32},      {"U8", 8, DType::u8},
    {"BOOL", 8, DType::boolean},  {"F64", 64, std::nullopt},    {"C64", 64, std::nullopt},
    {"U64", 64, std::nullopt},    {"U32", 32, std::nullopt},    {"I16", 16, std::nullopt},
    {"U16", 16, std::nullopt},    {"I8", 8, std::nullopt},      {"F8_E4M3", 8, std::nullopt},
    {"F8_E5M2", 8, std::nullopt}, {"F8_E8M0", 8, std::nullopt}, {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt}, {"F4", 4, std::nullopt},
}};

struct Entry {
  std::string name;
  const StoredType* type = nullptr;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // in the data behind the header
};

// Bytes of a tensor; none if its element count, or that of any part of its dimensions, overflows. Zeros are left out of
// the product, so that later code may multiply the dimensions in any order.
std::optional<std::uint64_t> byte_size(const std::vector<std::int64_t>& shape, const StoredType& type) {
  std::int64_t count = 1;
  bool is_empty = false;
  for (const std::int64_t dimension : shape) {
    is_empty = is_empty || dimension == 0;
    if (dimension != 0 && __builtin_mul_overflow(count, dimension, &count)) return std::nullopt;
  }
  std::int64_t bits = 0;
  if (__builtin_mul_overflow(count, static_cast<std::int64_t>(type.bits), &bits)) return std::nullopt;
  if (is_empty) return 0;
  if (bits % 8 != 0) return std::nullopt;
  return static_cast<std::uint64_t>(bits) / 8;
}

// The parser keeps the token that it reads, and blanks around it, in memory twice. Finds whether the header has a run
// of such bytes that is too long, before the parser sees it.
bool has_long_token(std::string_view header) {
  bool is_in_string = false;
  std::size_t start = 0;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const char c = header[i];
    if (is_in_string && c == '\\') {
      ++i;
      continue;
    }
    const bool is_boundary = is_in_string ? c == '"' : std::string_view("\",:[]{}").find(c) != std::string_view::npos;
    if (!is_boundary) continue;
    if (i - start > kLongestToken) return true;
    start = i;
    if (c == '"') is_in_string = !is_in_string;
  }
  return header.size() - start > kLongestToken;
}

// Receives the header's JSON token by token, so that nothing is built for what the format does not have:
// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"key": "text"}}.
class HeaderReader final : public Json::json_sax_t {
 public:
  explicit HeaderReader(const std::string& source) : source_(source) {}

  std::vector<Entry> take_entries() { return std::move(entries_); }

  bool start_object(std::size_t) override {
    switch (place_) {
      case Place::start:
        place_ = Place::names;
        return true;
      case Place::name_read:
        place_ = Place::tensor;
        return true;
      case Place::metadata_read:
        place_ = Place::metadata;
        return true;
      default:
        refuse_value("an object");
    }
  }

  bool key(std::string& text) override {
    if (place_ == Place::names) {
      start_entry(text);
    } else if (place_ == Place::tensor) {
      start_field(text);
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor) finish_entry();
    place_ = Place::names;
    return true;
  }

  bool string(std::string& text) override {
    if (place_ == Place::metadata) return true;
    if (place_ != Place::tensor || field_ != Field::dtype) refuse_value("a text");
    const auto* const type =
        std::find_if(kStoredTypes.begin(), kStoredTypes.end(), [&](const StoredType& t) { return t.name == text; });
    if (type == kStoredTypes.end()) refuse("dtype {} is not one of the format", in_quotes(text));
    entries_.back().type = type;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::tensor || field_ == Field::dtype) refuse_value("a list");
    place_ = Place::list;
    return true;
  }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ != Place::list) refuse_value("a number");
    Entry& entry = entries_.back();
    if (field_ == Field::shape) {
      if (entry.shape.size() == kMostDimensions) refuse("shape has more than {} dimensions", kMostDimensions);
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        refuse("shape holds {}, which is too large", value);
      }
      entry.shape.push_back(static_cast<std::int64_t>(value));
    } else {
      if (offsets_ == 2) refuse("data_offsets has more than 2 numbers");
      (offsets_++ == 0 ? entry.begin : entry.end) = value;
    }
    return true;
  }

  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }

  bool number_integer(std::int64_t value) override { refuse_value(fmt::format("the negative number {}", value)); }
  bool number_float(double, const std::string& text) override { refuse_value("the number " + printable(text)); }
  bool null() override { refuse_value("null"); }
  bool boolean(bool) override { refuse_value("true or false"); }
  bool binary(Json::binary_t&) override { refuse_value("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    fail(Error::Code::file, "{}: the header is not valid JSON at byte {}", source_, kLengthBytes + position);
  }

 private:
  enum class Place { start, names, name_read, metadata_read, metadata, tensor, list };
  enum class Field { none, dtype, shape, offsets };

  void start_entry(std::string& name) {
    if (name == "__metadata__") {
      if (std::exchange(has_metadata_, true)) fail(Error::Code::file, "{}: __metadata__ appears twice", source_);
      place_ = Place::metadata_read;
      return;
    }
    if (entries_.size() == kMostTensors) fail(Error::Code::file, "{}: more than {} tensors", source_, kMostTensors);
    if (name.size() > kLongestName) {
      fail(Error::Code::file, "{}: tensor name {} is longer than {} bytes", source_, in_quotes(name), kLongestName);
    }
    entries_.emplace_back().name = name;
    fields_ = 0;
    offsets_ = 0;
    field_ = Field::none;
    place_ = Place::name_read;
  }

  void start_field(const std::string& name) {
    if (name == "dtype") {
      field_ = Field::dtype;
    } else if (name == "shape") {
      field_ = Field::shape;
    } else if (name == "data_offsets") {
      field_ = Field::offsets;
    } else {
      refuse("unknown field {}", in_quotes(name));
    }
    const unsigned bit = 1u << static_cast<unsigned>(field_);
    if (fields_ & bit) refuse("{} appears twice", name);
    fields_ |= bit;
  }

  void finish_entry() {
    Entry& entry = entries_.back();
    const auto has = [&](Field field) { return (fields_ & (1u << static_cast<unsigned>(field))) != 0; };
    if (!has(Field::dtype)) refuse("dtype is missing");
    if (!has(Field::shape)) refuse("shape is missing");
    if (!has(Field::offsets)) refuse("data_offsets is missing");
    if (offsets_ != 2) refuse("data_offsets has {} numbers; 2 are wanted", offsets_);
    if (entry.begin > entry.end) refuse("data_offsets [{}, {}] are not in order", entry.begin, entry.end);
    const std::optional<std::uint64_t> wanted = byte_size(entry.shape, *entry.type);
    if (!wanted) refuse("shape has too many elements, or they do not fill whole bytes");
    if (entry.end - entry.begin != *wanted) {
      refuse("data_offsets [{}, {}] hold {} bytes; its shape of {} needs {}", entry.begin, entry.end,
             entry.end - entry.begin, entry.type->name, *wanted);
    }
  }

  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    const std::string problem = fmt::format(format, std::forward<Args>(args)...);
    fail(Error::Code::file, "{}: tensor {}: {}", source_, in_quotes(entries_.back().name), problem);
  }

  [[noreturn]] void refuse_value(std::string_view found) const {
    switch (place_) {
      case Place::start:
        fail(Error::Code::file, "{}: the header is {}; an object is wanted", source_, found);
      case Place::metadata_read:
      case Place::metadata:
        fail(Error::Code::file, "{}: __metadata__ holds {}; only texts are wanted", source_, found);
      case Place::list:
        refuse("{} holds {}; only numbers from 0 are wanted", field_ == Field::shape ? "shape" : "data_offsets", found);
      default:
        refuse("{} where its dtype, shape or data_offsets is wanted", found);
    }
  }

  const std::string& source_;
  std::vector<Entry> entries_;
  Place place_ = Place::start;
  Field field_ = Field::none;
  unsigned fields_ = 0;  // a bit for each field of the current tensor that was seen
  int offsets_ = 0;      // how many of its two were seen
  bool has_metadata_ = false;
};

// The data must be covered exactly, which also shows that no tensor reaches behind it.
void check_layout(std::vector<Entry>& entries, std::uint64_t data_bytes, const std::string& source) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.end > data_bytes) {
      fail(Error::Code::file, "{}: tensor {}: data_offsets [{}, {}] reach behind the {} bytes of data", source,
           in_quotes(entry.name), entry.begin, entry.end, data_bytes);
    }
    if (entry.begin != covered) {
      fail(Error::Code::file, "{}: tensor {}: data_offsets [{}, {}] {} byte {}", source, in_quotes(entry.name),
           entry.begin, entry.end,
           entry.begin < covered ? "overlap the tensor before, which ends at" : "leave a gap at", covered);
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    fail(Error::Code::file, "{}: the tensors end at byte {} of {} bytes of data", source, covered, data_bytes);
  }
}

std::string_view header_of(std::span<const std::byte> file, const std::string& source) {
  std::uint64_t length = 0;
  if (file.size() < sizeof(length)) {
    fail(Error::Code::file, "{}: {} bytes are too few for a safetensors file", source, file.size());
  }
  std::memcpy(&length, file.data(), sizeof(length));
  if (length > kLongestHeader) {
    fail(Error::Code::file, "{}: a header of {} bytes; at most {} are allowed", source, length, kLongestHeader);
  }
  if (length > file.size() - kLengthBytes) {
    fail(Error::Code::file, "{}: a header of {} bytes in a file of {}; is it cut short?", source, length, file.size());
  }
  const std::string_view header(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (!header.starts_with('{')) fail(Error::Code::file, "{}: the header does not start with '{{'", source);
  return header;
}

}  // namespace

TensorTable parse_safetensors(std::span<const std::byte> file, const std::string& source) {
  const std::string_view header = header_of(file, source);
  const std::span<const std::byte> data = file.subspan(kLengthBytes + header.size());
  // Spaces behind the JSON align the data.
  const std::string_view json = header.substr(0, header.find_last_not_of(' ') + 1);
  if (has_long_token(json)) {
    fail(Error::Code::file, "{}: the header has a token of more than {} bytes", source, kLongestToken);
  }
  // The parser takes a zero byte for the end.
  if (json.find('\0') != std::string_view::npos) fail(Error::Code::file, "{}: the header has a zero byte", source);
  HeaderReader reader(source);
  Json::sax_parse(json.begin(), json.end(), &reader);
  std::vector<Entry> entries = reader.take_entries();
  check_layout(entries, data.size(), source);

  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(entries.begin(), entries.end(),
                                        [](const Entry& a, const Entry& b) { return a.name == b.name; });
  if (twice != entries.end()) fail(Error::Code::file, "{}: tensor {} appears twice", source, in_quotes(twice->name));

  TensorTable table;
  for (Entry& entry : entries) {
    if (entry.type->dtype) {
      table.tensors.push_back({std::move(entry.name), *entry.type->dtype, std::move(entry.shape),
                               data.subspan(entry.begin, entry.end - entry.begin)});
    } else {
      table.unsupported.push_back({std::move(entry.name), std::string(entry.type->name)});
    }
  }
  return table;
}

}  // namespace vistazo
