#include "weights/safetensors.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/weights/support.h"

namespace vistazo {
namespace {

using testing::safetensors_bytes;

TensorTable parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "x.safetensors");
}

TensorTable parse_header(const std::string& header, std::size_t data_bytes) {
  return parse(safetensors_bytes(header, std::string(data_bytes, '\0')));
}

// The message of the Error{file} that the header causes; "" if it causes none.
std::string refusal(const std::string& header, std::size_t data_bytes) {
  return testing::message_of(Error::Code::file, [&] { parse_header(header, data_bytes); });
}

constexpr const char* kOne = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

TEST_CASE("tensors are sorted by name and point into the file") {
  const std::string file = safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
      R"("a":{"data_offsets":[3,11],"shape":[1,2],"dtype":"F32"},"empty":{"dtype":"I64","shape":[4,0],)"
      R"("data_offsets":[3,3]},"scalar":{"dtype":"BF16","shape":[],"data_offsets":[11,13]}}   )",
      "abcdefghijklm");
  const TensorTable table = parse(file);
  REQUIRE(table.tensors.size() == 4);
  CHECK(table.unsupported.empty());
  const CheckpointTensor& a = table.tensors[0];
  CHECK(a.name == "a");
  CHECK(a.dtype == DType::f32);
  CHECK(a.shape == std::vector<std::int64_t>{1, 2});
  REQUIRE(a.bytes.size() == 8);
  CHECK(std::memcmp(a.bytes.data(), "defghijk", 8) == 0);
  CHECK(table.tensors[1].name == "b");
  CHECK(std::memcmp(table.tensors[1].bytes.data(), "abc", 3) == 0);
  CHECK(table.tensors[2].name == "empty");
  CHECK(table.tensors[2].bytes.empty());
  CHECK(table.tensors[3].name == "scalar");
  CHECK(table.tensors[3].shape.empty());
  CHECK(table.tensors[3].bytes.size() == 2);
}

TEST_CASE("a file without tensors is valid") {
  CHECK(parse_header("{}", 0).tensors.empty());
  CHECK(parse_header(R"({"__metadata__":{}})", 0).tensors.empty());
}

TEST_CASE("every type of the format is known; those without a DType are listed apart") {
  const TensorTable table = parse_header(
      R"({"d":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"q":{"dtype":"F4","shape":[4],"data_offsets":[8,10]},)"
      R"("six":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[10,13]},"t":{"dtype":"BOOL","shape":[2],)"
      R"("data_offsets":[13,15]}})",
      15);
  REQUIRE(table.tensors.size() == 1);
  CHECK(table.tensors[0].dtype == DType::boolean);
  REQUIRE(table.unsupported.size() == 3);
  CHECK(table.unsupported[0].name == "d");
  CHECK(table.unsupported[0].dtype == "F64");
  CHECK(refusal(R"({"q":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2).find("whole bytes") !=
        std::string::npos);
}

TEST_CASE("a header length that the file cannot have") {
  CHECK(testing::message_of(Error::Code::file, [] { parse(""); }) ==
        "x.safetensors: 0 bytes are too few for a safetensors file");
  CHECK(testing::message_of(Error::Code::file, [] { parse("1234567"); }).find("too few") != std::string::npos);
  const std::string good = safetensors_bytes(kOne, std::string(8, 'x'));
  for (std::size_t length = 0; length < good.size(); ++length) {
    CAPTURE(length);
    CHECK_FALSE(testing::message_of(Error::Code::file, [&] { parse(good.substr(0, length)); }).empty());
  }
  for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{55}, std::uint64_t{100'000'001},
                                     std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    CAPTURE(length);
    std::string file = good;
    std::memcpy(file.data(), &length, 8);
    CHECK_FALSE(testing::message_of(Error::Code::file, [&] { parse(file); }).empty());
  }
}

TEST_CASE("offsets that are out of order, behind the end, overlapping or leave a gap") {
  CHECK(refusal(kOne, 7) == R"(x.safetensors: tensor "a": data_offsets [0, 8] reach behind the 7 bytes of data)");
  CHECK(refusal(kOne, 9) == "x.safetensors: the tensors end at byte 8 of 9 bytes of data");
  CHECK(refusal("{}", 1) == "x.safetensors: the tensors end at byte 0 of 1 bytes of data");
  CHECK(refusal(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[4,2]}})", 4) ==
        R"(x.safetensors: tensor "a": data_offsets [4, 2] are not in order)");
  CHECK(refusal(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                3) ==
        R"(x.safetensors: tensor "b": data_offsets [1, 3] overlap the tensor before, which ends at byte 2)");
  CHECK(refusal(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                R"("b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                2) ==
        R"(x.safetensors: tensor "b": data_offsets [0, 2] overlap the tensor before, which ends at byte 2)");
  CHECK(refusal(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                R"("b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})",
                5) == R"(x.safetensors: tensor "b": data_offsets [3, 5] leave a gap at byte 2)");
  CHECK(refusal(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[9,9]}})", 4).find("reach behind") !=
        std::string::npos);
  CHECK_FALSE(
      refusal(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[18446744073709551614,18446744073709551616]}})", 4)
          .empty());
}

TEST_CASE("shapes that are negative, fractional, too large or do not fit the offsets") {
  const auto with_shape = [](const char* shape) {
    return refusal(fmt::format(R"({{"a":{{"dtype":"F32","shape":{},"data_offsets":[0,8]}}}})", shape), 8);
  };
  CHECK(with_shape("[2]") == "");
  CHECK(with_shape("[3]") ==
        R"(x.safetensors: tensor "a": data_offsets [0, 8] hold 8 bytes; its shape of F32 needs 12)");
  CHECK(with_shape("[-2]") ==
        R"(x.safetensors: tensor "a": shape holds the negative number -2; only numbers from 0 are wanted)");
  for (const char* shape : {"[2.0]",
                            "[\"2\"]",
                            "[null]",
                            "[[2]]",
                            "[{}]",
                            "2",
                            "\"2\"",
                            "[true]",
                            "null",
                            "{}",
                            "[9223372036854775807]",
                            "[9223372036854775808]",
                            "[4294967296,4294967296]",
                            "[4611686018427387905]",
                            "[0,4294967296,4294967296]",
                            "[1e1]",
                            "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]",
                            "[18446744073709551618]",
                            "[2",
                            "[2,]"}) {
    CAPTURE(shape);
    CHECK_FALSE(with_shape(shape).empty());
  }
}

TEST_CASE("fields that are missing, doubled, unknown or of another type") {
  for (const char* header : {
           R"({"a":{"shape":[2],"data_offsets":[0,8]}})",
           R"({"a":{"dtype":"F32","data_offsets":[0,8]}})",
           R"({"a":{"dtype":"F32","shape":[2]}})",
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})",
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})",
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":"08"}})",
           R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
           R"({"a":{"dtype":"F32","shape":[2],"shape":[],"data_offsets":[0,8]}})",
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"note":"x"}})",
           R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})",
           R"({"a":{"dtype":["F32"],"shape":[2],"data_offsets":[0,8]}})",
           R"({"a":{"dtype":32,"shape":[2],"data_offsets":[0,8]}})",
           R"({"a":[]})",
           R"({"a":null})",
           R"({"a":8})",
           R"({"a":"F32"})",
           R"({"__metadata__":[]})",
           R"({"__metadata__":null})",
           R"({"__metadata__":{"a":1}})",
           R"({"__metadata__":{"a":{}}})",
           R"({"__metadata__":{},"__metadata__":{}})",
       }) {
    CAPTURE(header);
    const std::string without_data = refusal(header, 0);
    CHECK_FALSE(refusal(header, 8).empty());
    CHECK(without_data.find("bytes of data") == std::string::npos);  // refused for the field, not for the layout
    CHECK_FALSE(without_data.empty());
  }
}

TEST_CASE("a name that appears twice") {
  CHECK(refusal(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                R"("a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                4) == R"(x.safetensors: tensor "a" appears twice)");
}

TEST_CASE("headers that are not JSON, or not only") {
  for (const char* header : {"", " {}", "[]", "{", "{}}", "{} x", "{\"a\"}", "{\"a\":}", "{'a':{}}", "nul", "{}\n{}",
                             "{\"\xff\":{}}", "{\"a\xc0\x80\":{}}", "{\"\\ud800\":{}}", "{\"a\n\":{}}"}) {
    CAPTURE(header);
    CHECK_FALSE(refusal(header, 0).empty());
  }
  CHECK_FALSE(refusal(std::string("{}\0", 3), 0).empty());
}

TEST_CASE("text of the file cannot put control characters into a message") {
  const std::string message = refusal(R"({"\u001b[2J\u0000é":{"dtype":"?"}})", 0);
  CHECK(message == R"(x.safetensors: tensor "?[2J???": dtype "?" is not one of the format)");
  const std::string long_name = refusal(R"({")" + std::string(1000, 'n') + R"(":{"dtype":"?"}})", 0);
  CHECK(long_name.size() < 250);
}

TEST_CASE("headers made to exhaust memory or the stack") {
  CHECK_FALSE(refusal(std::string(1'000'000, '['), 0).empty());
  CHECK_FALSE(refusal("{\"a\":" + std::string(1'000'000, '['), 0).empty());
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"a\":";
  CHECK_FALSE(refusal(objects, 0).empty());
  CHECK(refusal("{\"" + std::string(2000, 'x') + "\":{}}", 0).find("longer than 1024") != std::string::npos);
  CHECK(refusal("{\"__metadata__\":{\"a\":\"" + std::string(17 << 20, 'x') + "\"}}", 0).find("token") !=
        std::string::npos);
  CHECK(refusal("{" + std::string(17 << 20, ' ') + "}", 0).find("token") != std::string::npos);
  CHECK(refusal("{\"a\":" + std::string(17 << 20, '1') + "}", 0).find("token") != std::string::npos);
  CHECK(refusal("{\"__metadata__\":{\"a\":\"" + std::string(1 << 20, 'x') + "\"}}", 0) == "");
  CHECK(refusal("{}" + std::string(17 << 20, ' '), 0) == "");
}

TEST_CASE("the number of tensors is limited") {
  const auto header_of = [](int tensors) {
    std::string header = "{";
    for (int i = 0; i < tensors; ++i) {
      header += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", i ? "," : "", i, i, i + 1);
    }
    return header + "}";
  };
  CHECK(parse_header(header_of(131'072), 131'072).tensors.size() == 131'072);
  CHECK(refusal(header_of(131'073), 131'073).find("more than 131072 tensors") != std::string::npos);
}

}  // namespace
}  // namespace vistazo
