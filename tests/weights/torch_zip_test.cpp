#include "weights/torch_zip.h"

#include <doctest/doctest.h>
#include <fmt/core.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/weights/support.h"
#include "weights/checkpoint.h"

// PyTorch's files (tests/data/generate_torch.py) against the same tensors as safetensors, and hostile ones made here.
namespace vistazo {
namespace {

using namespace std::string_literals;

const std::filesystem::path kData = std::filesystem::path(VISTAZO_TEST_DATA) / "torch";

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

TorchTensors parse(const std::string& file) {
  return parse_torch(std::as_bytes(std::span(file)), "x.pth");
}

// The message of the Error{file} that the file causes; "" if it causes none.
std::string refusal(const std::string& file, Error::Code code = Error::Code::file) {
  return testing::message_of(code, [&] { parse(file); });
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("PyTorch's files hold what the same tensors in safetensors hold") {
  const nlohmann::json expected = nlohmann::json::parse(read_file(kData / "expected.json"));
  const auto wanted = open_checkpoint(kData / "expected.safetensors");
  REQUIRE(expected["parts"].size() >= 10);
  for (const auto& item : expected["parts"].items()) {
    const std::string name = item.key(), part = item.value();
    CAPTURE(name);
    const auto found = open_checkpoint(kData / (name + ".pth"));
    CHECK(found->part() == part);
    REQUIRE(found->tensors().size() == wanted->tensors().size());
    for (std::size_t i = 0; i < wanted->tensors().size(); ++i) {
      const CheckpointTensor &a = found->tensors()[i], &b = wanted->tensors()[i];
      CAPTURE(b.name);
      CHECK(a.name == b.name);
      CHECK(a.dtype == b.dtype);
      CHECK(a.shape == b.shape);
      CHECK(std::ranges::equal(a.bytes, b.bytes));
    }
    REQUIRE(found->unsupported().size() == expected["unsupported"].size());
    for (const UnsupportedTensor& tensor : found->unsupported()) {
      CHECK(tensor.dtype == expected["unsupported"][tensor.name].get<std::string>());
    }
  }
}

// --- archives and pickles by hand

struct Entry {
  std::string name, content;
  bool is_deflated = false;
  std::uint32_t size = 0;  // as the archive says; 0: the content's
};

// Little-endian.
std::string number(std::uint64_t value, std::size_t bytes) {
  std::string text(bytes, '\0');
  std::memcpy(text.data(), &value, std::min(bytes, sizeof(value)));
  return text;
}

std::string deflated(const std::string& content) {
  std::string packed(compressBound(content.size()), '\0');
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string zip(const std::vector<Entry>& entries) {
  std::string file, directory;
  for (const Entry& entry : entries) {
    const std::string data = entry.is_deflated ? deflated(entry.content) : entry.content;
    const auto crc =
        crc32(0, reinterpret_cast<const Bytef*>(entry.content.data()), static_cast<uInt>(entry.content.size()));
    const std::string common = number(20, 2) + number(0, 2) + number(entry.is_deflated ? 8 : 0, 2) + number(0, 4) +
                               number(crc, 4) + number(data.size(), 4) +
                               number(entry.size ? entry.size : entry.content.size(), 4) +
                               number(entry.name.size(), 2) + number(0, 2);
    directory += "PK\1\2" + number(20, 2) + common + number(0, 10) + number(file.size(), 4) + entry.name;
    file += "PK\3\4" + common + entry.name + data;
  }
  return file + directory + "PK\5\6" + number(0, 4) + number(entries.size(), 2) + number(entries.size(), 2) +
         number(directory.size(), 4) + number(file.size(), 4) + number(0, 2);
}

std::string text(const std::string& value) {
  return "X" + number(value.size(), 4) + value;
}

std::string integer(std::int64_t value) {
  return "\x8a\x08"s + number(static_cast<std::uint64_t>(value), 8);
}

std::string tuple(const std::vector<std::int64_t>& values) {
  std::string code = "(";
  for (const std::int64_t v : values) code += integer(v);
  return code + "t";
}

struct View {
  std::string key = "0";
  std::int64_t elements = 6, offset = 0;
  std::vector<std::int64_t> shape{2, 3}, strides{3, 1};
  std::string type = "FloatStorage";
};

// Code that builds a tensor as torch.save() does.
std::string tensor(const View& view) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\n" + view.type + "\n" + text(view.key) +
         text("cpu") + integer(view.elements) + "tQ" + integer(view.offset) + tuple(view.shape) + tuple(view.strides) +
         "\x89" + "ccollections\nOrderedDict\n)RtR";
}

std::string table(const std::string& items) {
  return "\x80\2}(" + items + "u.";
}

const std::string kStorage = number(0, 24);

std::string archive(const std::string& pickle, const std::string& storage = kStorage) {
  return zip({{"a/data.pkl", pickle}, {"a/data/0", storage}, {"a/version", "3\n"}});
}

std::string refusal_of(const View& view) {
  return refusal(archive(table(text("w") + tensor(view))));
}

TEST_CASE("a file by hand is read, so that what follows is refused for its fault alone") {
  CHECK(parse(archive(table(text("w") + tensor({})))).table.tensors.at(0).shape == std::vector<std::int64_t>{2, 3});
  CHECK(parse(zip({{"a/data.pkl", table(text("w") + tensor({})), true}, {"a/data/0", kStorage, true}}))
            .table.tensors.size() == 1);
}

TEST_CASE("the stride of an axis of length 1 may be any number") {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  const std::string storage("\1\2\3\4", 4);
  const auto bytes_of = [&](std::vector<std::int64_t> shape, std::vector<std::int64_t> strides) {
    const View view{.elements = 4, .shape = std::move(shape), .strides = std::move(strides), .type = "ByteStorage"};
    const std::string file = archive(table(text("w") + tensor(view)), storage);  // where the elements stay, in a row
    const TorchTensors tensors = parse(file);
    const std::span<const std::byte> bytes = tensors.table.tensors.at(0).bytes;
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  CHECK(bytes_of({2, 2}, {1, 2}) == "\1\3\2\4");
  CHECK(bytes_of({2, 1, 2}, {1, kLargest, 2}) == "\1\3\2\4");
  CHECK(bytes_of({1, 2, 1, 2, 1}, {kLargest, 1, kLargest, 2, kLargest}) == "\1\3\2\4");
  CHECK(bytes_of({1, 4, 1}, {kLargest, 1, kLargest}) == "\1\2\3\4");
}

TEST_CASE("a pickle that names anything but tensors is refused by name, called or not") {
  for (const std::string& global :
       {"cos\nsystem\n"s, "cbuiltins\neval\n"s, "c__builtin__\nexec\n"s, "cposix\nsystem\n"s, "csubprocess\nPopen\n"s,
        "ctorch.storage\n_load_from_bytes\n"s, "ctorch\nload\n"s, "ctorch.hub\nload\n"s, "cbuiltins\ngetattr\n"s,
        "crunpy\n_run_code\n"s}) {
    CAPTURE(global);
    const std::string name = global.substr(global.find('\n') + 1, global.rfind('\n') - global.find('\n') - 1);
    const std::string called = refusal(archive("\x80\2" + global + text("echo") + "\x85R."));
    CHECK(contains(called, "x.pth: refers to \"" + name + "\""));
    CHECK(contains(called, "nothing in a checkpoint is executed"));
    CHECK(
        contains(refusal(archive("\x80\2}" + text("w") + tensor({}) + "s" + text("x") + global + "s.")), "refers to"));
  }
  // By a name on the stack (protocol 4), and hidden in an old file.
  CHECK(contains(refusal(archive("\x80\4" + text("os") + text("system") + "\x93.")), "refers to \"system\" of \"os\""));
  CHECK(contains(refusal("\x80\2cos\nsystem\n."), "refers to"));
}

TEST_CASE("tensors that overrun their storage are refused") {
  CHECK(contains(refusal_of({.elements = 7}), "storage \"0\" has 24 bytes; 7 elements of F32 need 28"));
  CHECK(contains(refusal_of({.offset = 1}), "6 elements up to index 6 of a storage that has 6"));
  CHECK(contains(refusal_of({.shape = {2, 4}}), "tensor \"w\": 8 elements up to index 6"));
  CHECK(contains(refusal_of({.strides = {4, 1}}), "up to index 6"));
  CHECK(contains(refusal_of({.shape = {9, 9}, .strides = {0, 0}}), "81 elements up to index 0"));
  CHECK(contains(refusal_of({.offset = -1}), "its offset holds something else than numbers from 0"));
  CHECK(contains(refusal_of({.shape = {-2, 3}}), "its shape holds"));
  CHECK(contains(refusal_of({.strides = {3, -1}}), "its strides holds"));
  CHECK(contains(refusal_of({.shape = {6}}), "1 dimensions, 2 strides"));
  CHECK(contains(refusal_of({.shape = {1ll << 40, 1ll << 40}}), "too large"));
  CHECK(contains(refusal_of({.strides = {std::numeric_limits<std::int64_t>::max() - 9, 1}}), "up to index"));
  CHECK(contains(refusal_of({.shape = {3, 3}, .strides = {std::numeric_limits<std::int64_t>::max(), 1}}), "too large"));
  CHECK(contains(refusal_of({.elements = 1ll << 62}), "impossible number of elements"));
  CHECK(contains(refusal_of({.key = "1"}), "has no storage \"1\""));
  CHECK(contains(refusal_of({.key = "../data/0"}), "has no storage"));
  CHECK(contains(refusal_of({.type = "Size"}), "is of type \"Size\", which is none"));
}

TEST_CASE("a view may not make more elements than its storage has, nor many views more than the file allows") {
  std::string items;
  const std::int64_t side = 1024;
  const std::string storage(static_cast<std::size_t>(side * side), '\0');
  for (int i = 0; i < 100; ++i) {
    items += text(fmt::format("w{}", i)) +
             tensor({.elements = side * side, .shape = {side, side}, .strides = {1, side}, .type = "ByteStorage"});
  }
  CHECK(contains(refusal(archive(table(items), storage)), "more memory than its size allows"));
}

TEST_CASE("a table that names a tensor twice is refused") {
  CHECK(
      contains(refusal(archive(table(text("w") + tensor({}) + text("w") + tensor({})))), "tensor \"w\" appears twice"));
}

TEST_CASE("a file without a table of tensors says so") {
  for (const std::string& pickle : {"\x80\2N."s, "\x80\2}."s, "\x80\2]."s, table(text("model") + "}"), "\x80\2K\1."s}) {
    CHECK(contains(refusal(archive(pickle)), "has no table of tensors"));
  }
}

TEST_CASE("nested and cyclic values cost no more than their bytes") {
  std::string nested = "\x80\2";
  for (int i = 0; i < 200'000; ++i) nested += ")\x85";
  CHECK(contains(refusal(archive(nested + ".")), "its pickle ends with"));
  std::string doubling = "\x80\2)";  // each tuple holds the one before twice: 2^1000 leaves
  for (int i = 0; i < 1000; ++i) doubling += "2\x86";
  CHECK(contains(refusal(archive(doubling + ".")), "has no table of tensors"));
  const std::string cycle = "\x80\2}q\0"s + text("model") + "h\0"s + "s.";
  CHECK(contains(refusal(archive(cycle)), "has no table of tensors"));
  const std::string wrapped = "\x80\2ctorch._utils\n_rebuild_parameter\n]q\0h\0a"s + "R.";
  CHECK(contains(refusal(archive(wrapped)), "has no table of tensors"));
  CHECK(contains(refusal(archive("\x80\2" + std::string(1'100'000, ']') + ".")), "more than 1000000 values"));
  CHECK(contains(refusal(archive("\x80\2" + std::string(1'100'000, '(') + ".")), "more than 1000000 marks"));
  CHECK(contains(refusal(archive("\x80\2]" + std::string(1'100'000, '2') + ".")), "on its stack"));
}

TEST_CASE("malformed pickles are refused") {
  for (const std::string& pickle : {""s,
                                    "\x80"s,
                                    "\x80\1."s,
                                    "\x80\6."s,
                                    "\x80\2"s,
                                    "\x80\2."s,
                                    "\x80\2t."s,
                                    "\x80\2R."s,
                                    "\x80\2]R."s,
                                    "\x80\2K"s,
                                    "\x80\2X\xff\xff\xff\xff"s,
                                    "\x80\2cos"s,
                                    "\x80\2}]a."s,
                                    "\x80\2]]]s."s,
                                    "\x80\2}(]u."s,
                                    "\x80\2h\1."s,
                                    "\x80\2]]b."s,
                                    "\x80\2\x93."s,
                                    "\x80\2"
                                    "0."s,
                                    "\x80\2((1."s,
                                    "\x80\2Pabc\n."s,
                                    "\x80\2\x82\1."s,
                                    "\x80\2i"s,
                                    "\x80\2K\1K\2."s,
                                    "\x80\2q\0."s,
                                    "\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\xff."s,
                                    "\x80\2(]K\1o."s}) {
    CAPTURE(pickle);
    CHECK(contains(refusal(archive(pickle)), "x.pth: its pickle "));
  }
}

TEST_CASE("every truncation of a file is refused") {
  for (const char* name : {"new.pth", "old.pth", "deflated.pth", "streamed.pth"}) {
    CAPTURE(name);
    const std::string whole = read_file(kData / name);
    for (std::size_t length = 0; length < whole.size(); length += 3) {
      CAPTURE(length);
      CHECK(refusal(whole.substr(0, length)) != "");
    }
  }
}

TEST_CASE("archives that cannot be trusted are refused") {
  const std::string pickle = table(text("w") + tensor({}));
  CHECK(contains(refusal(zip({{"a/data.pkl", pickle}, {"a/data/0", kStorage}, {"a/data/0", kStorage}})),
                 "appears twice"));
  CHECK(contains(refusal(zip({{"a/data.pkl", pickle}, {"b/data.pkl", pickle}})), "more than one data.pkl"));
  CHECK(contains(refusal(zip({{"a/x", pickle}})), "no data.pkl"));
  CHECK(contains(refusal(zip({{"a/data.pkl", pickle, true, 1u << 31}})), "more than the file's size allows"));
  CHECK(contains(refusal(zip({{"a/data.pkl", pickle, true, 1000}})), "does not unpack to the size"));
  CHECK(contains(refusal(zip({{"a/data.pkl", pickle, false, 1000}})), "two different sizes"));
  // 100 MB of zeros in 100 kB.
  const std::string bomb(100'000'000, '\0');
  CHECK(contains(
      refusal(zip({{"a/data.pkl", table(text("w") + tensor({.elements = 25'000'000}))}, {"a/data/0", bomb, true}})),
      "unpacks to 100000000 bytes, more than the file's size allows"));

  const std::string file = archive(pickle);
  const std::size_t directory = file.find("PK\1\2"), end = file.find("PK\5\6");
  const auto edited = [&](std::size_t at, const std::string& bytes) {
    return refusal(std::string(file).replace(at, bytes.size(), bytes));
  };
  CHECK(contains(edited(directory + 8, number(1, 2)), "is encrypted"));
  CHECK(contains(edited(directory + 10, number(12, 2)), "only deflate is known"));
  CHECK(contains(edited(directory + 42, number(1, 4)), "is not where the archive's directory says"));
  CHECK(contains(edited(directory + 42, number(1u << 30, 4)), "lies outside the archive"));
  CHECK(contains(edited(directory + 20, number(5000, 4) + number(5000, 4)), "reaches into the archive's directory"));
  const std::size_t longer = pickle.size() + 10;
  CHECK(contains(edited(directory + 20, number(longer, 4) + number(longer, 4)), "overlap"));
  CHECK(contains(edited(end + 16, number(1u << 30, 4)), "reaches behind its end"));
  CHECK(contains(edited(end + 10, number(2, 2)), "more entries than it counts"));
  CHECK(contains(edited(end + 10, number(9, 2)), "directory is damaged"));
  CHECK(contains(edited(file.find("a/data/0"), "b"), "another name"));
}

TEST_CASE("what PyTorch writes and this library cannot read is named") {
  const auto unsupported = [](const std::string& file) { return refusal(file, Error::Code::unsupported); };
  const std::string pickle = table(text("w") + tensor({}));
  CHECK(contains(unsupported(zip({{"a/data.pkl", pickle}, {"a/data/0", kStorage}, {"a/byteorder", "big"}})),
                 "its byte order is \"big\""));
  CHECK(contains(unsupported(zip({{"a/data.pkl", pickle}, {"a/constants.pkl", "\x80\2N."}})), "TorchScript"));
  std::string tar(512, '\0');
  CHECK(contains(unsupported(tar.replace(257, 5, "ustar")), "tar archive"));
  std::string old = read_file(kData / "old.pth");
  const std::size_t marker = old.find("little_endian");
  REQUIRE(marker != std::string::npos);
  old[old.find('\x88', marker)] = '\x89';  // True -> False
  CHECK(contains(unsupported(old), "big-endian"));
  CHECK(contains(refusal("not a checkpoint"), "neither a ZIP archive nor a pickle"));
  CHECK(contains(refusal("\x80\2N."), "none of PyTorch's"));
}

}  // namespace
}  // namespace vistazo
