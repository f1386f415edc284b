#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/weights/support.h"
#include "weights/config_reader.h"
#include "weights/json_file.h"

namespace vistazo {
namespace {

ConfigReader config(const std::string& text) {
  return {parse_json(text, "c.json"), "c.json"};
}

template <typename Action>
std::string refusal(Action action) {
  return testing::message_of(Error::Code::file, action);
}

std::string json_refusal(const std::string& text, const JsonLimits& limits = {}) {
  return refusal([&] { parse_json(text, "c.json", limits); });
}

TEST_CASE("JSON that is not valid names line and column") {
  CHECK(json_refusal("{}") == "");
  CHECK(json_refusal("{\n  \"a\": 1,\n  \"b\" 2\n}").starts_with("c.json: line 3, column 7: "));
  CHECK(json_refusal("x").starts_with("c.json: line 1, column 1: "));
  CHECK(json_refusal("").starts_with("c.json: line 1, column 1: "));
  for (const char* text : {"{", "[1,]", "{\"a\":1,}", "{} {}", "NaN", "Infinity", "[1e999]", "'a'", "\"\xff\"",
                           "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\\ud800\"", "// x\n{}", "\"a\nb\"", "01", "+1"}) {
    CAPTURE(text);
    CHECK_FALSE(json_refusal(text).empty());
  }
  CHECK(json_refusal(std::string("{}\0{", 4)) == "c.json: has a zero byte");
  CHECK(json_refusal(std::string(5000, 'x')).size() < 300);
}

TEST_CASE("a key that appears twice in one object, at any depth") {
  CHECK(json_refusal(R"({"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]})") == "");
  CHECK(json_refusal(R"({"a":1,"a":1})") == R"(c.json: key "a" appears twice)");
  CHECK(json_refusal(R"({"b":[{"x":{},"a":1,"\u0061":1}]})") == R"(c.json: key "a" appears twice)");
}

TEST_CASE("limits on bytes, depth and the number of values") {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(json_refusal(nested(64)) == "");
  CHECK(json_refusal(nested(65)) == "c.json: nested deeper than 64 levels");
  CHECK(json_refusal(std::string(1'000'000, '[')) == "c.json: nested deeper than 64 levels");
  CHECK(json_refusal("\"12345678\"", {.bytes = 10}) == "");
  CHECK(json_refusal("\"123456789\"", {.bytes = 10}) == "c.json: 11 bytes of JSON; at most 10 are allowed");
  CHECK(json_refusal("[1,2,{}]", {.values = 4}) == "");
  CHECK(json_refusal("[1,2,{},3]", {.values = 4}) == "c.json: more than 4 values");
  std::string many = "[[]";
  for (int i = 0; i < 1'000'000; ++i) many += ",[]";
  CHECK(json_refusal(many + "]") == "c.json: more than 1000000 values");
}

TEST_CASE("read_json: files that cannot be read") {
  const testing::TemporaryFolder folder;
  CHECK(read_json(folder.write("good.json", "{\"a\":[1]}"))["a"][0] == 1);
  CHECK(refusal([&] { read_json(folder.path() / "none.json"); }) ==
        (folder.path() / "none.json").string() + ": cannot be opened: No such file or directory");
  CHECK_FALSE(refusal([&] { read_json(folder.path()); }).empty());
  CHECK_FALSE(refusal([&] { read_json("/dev/zero"); }).empty());
  CHECK_FALSE(refusal([&] { read_json(folder.write("empty.json", "")); }).empty());
  CHECK(refusal([&] { read_config(folder.write("list.json", "[]")); }).ends_with("list.json: is not a JSON object"));
}

TEST_CASE("values within their bounds are returned") {
  const ConfigReader c = config(
      R"({"i":7,"f":1e-6,"b":true,"s":"héllo","l":[1,2,3],"d":[0.5,1],"w":["a","b"],"o":{"p":{"q":-3}},"n":null,"e":[],"t":[true,false]})");
  CHECK(c.integer("i", 7, 7) == 7);
  CHECK(c.number("f", 0, 1) == 1e-6);
  CHECK(c.number("i", 0, 10) == 7.0);
  CHECK(c.boolean("b"));
  CHECK(c.string("s") == "héllo");
  CHECK(c.one_of("s", {"x", "héllo"}) == "héllo");
  CHECK(c.integers("l", 1, 3) == std::vector<int>{1, 2, 3});
  CHECK(c.integers("e", 1, 3).empty());
  CHECK(c.numbers("d", 0, 1) == std::vector<double>{0.5, 1.0});
  CHECK(c.booleans("t") == std::vector<bool>{true, false});
  CHECK(c.strings("w") == std::vector<std::string>{"a", "b"});
  CHECK(c.child("o").child("p").integer("q", -3, 0) == -3);
  CHECK(c.child("o").child("p").path_of("q") == "o.p.q");
  CHECK(c.has("i"));
  CHECK_FALSE(c.has("n"));
  CHECK_FALSE(c.has("none"));
  CHECK(c.is_list("l"));
  CHECK_FALSE(c.is_list("o"));
  CHECK(c.is_object("o"));
  CHECK_FALSE(c.is_object("none"));
}

TEST_CASE("fallbacks stand in for absent keys and null, never for a wrong value") {
  const ConfigReader c = config(R"({"n":null,"x":"?"})");
  for (const char* key : {"n", "none"}) {
    CHECK(c.integer(key, 1, 2, 9) == 9);
    CHECK(c.number(key, 1, 2, 0.5) == 0.5);
    CHECK(c.boolean(key, true));
    CHECK(c.string(key, "fallback") == "fallback");
    CHECK(c.one_of(key, {"a"}, "b") == "b");
    CHECK(c.integers(key, 0, 1, {5}) == std::vector<int>{5});
    CHECK(c.numbers(key, 0, 1, {5.0}) == std::vector<double>{5.0});
    CHECK(c.booleans(key, {true}) == std::vector<bool>{true});
    CHECK(c.strings(key, {"z"}) == std::vector<std::string>{"z"});
    CHECK(c.labels(key).empty());
  }
  CHECK_FALSE(refusal([&] { c.integer("x", 1, 2, 1); }).empty());
  CHECK_FALSE(refusal([&] { c.number("x", 1, 2, 1); }).empty());
  CHECK_FALSE(refusal([&] { c.boolean("x", true); }).empty());
  CHECK_FALSE(refusal([&] { c.integers("x", 0, 1, {}); }).empty());
  CHECK_FALSE(refusal([&] { c.booleans("x", {}); }).empty());
  CHECK_FALSE(refusal([&] { c.labels("x"); }).empty());
}

TEST_CASE("messages name file, key path, what was found and what is wanted") {
  const ConfigReader c =
      config(R"({"backbone_config":{"patch_size":"x","l":[1,"two"],"act":"swish2","deep":{}},"z":0})");
  const ConfigReader backbone = c.child("backbone_config");
  CHECK(refusal([&] { backbone.integer("patch_size", 1, 64); }) ==
        R"(c.json: backbone_config.patch_size is "x"; an integer from 1 to 64 is wanted)");
  CHECK(refusal([&] { backbone.integer("none", 1, 64); }) ==
        "c.json: backbone_config.none is missing; an integer from 1 to 64 is wanted");
  CHECK(refusal([&] { backbone.integers("l", 0, 9); }) ==
        R"(c.json: backbone_config.l[1] is "two"; an integer from 0 to 9 is wanted)");
  CHECK(testing::message_of(Error::Code::unsupported, [&] {
          backbone.one_of("act", {"gelu", "relu"});
        }) == R"(c.json: backbone_config.act is "swish2"; "gelu" or "relu" is wanted)");
  CHECK(refusal([&] { backbone.boolean("deep"); }) ==
        "c.json: backbone_config.deep is an object; true or false is wanted");
  CHECK(refusal([&] { backbone.string("l"); }) == "c.json: backbone_config.l is a list of 2; a text is wanted");
  CHECK(refusal([&] { c.number("z", 0.5, 1.5); }) == "c.json: z is 0; a number from 0.5 to 1.5 is wanted");
  CHECK(refusal([&] { c.child("z"); }) == "c.json: z is 0; an object is wanted");
  CHECK(refusal([&] { c.child("y"); }) == "c.json: y is missing; an object is wanted");
  CHECK(refusal([&] { c.refuse("z", "a multiple of 3"); }) == "c.json: z is 0; a multiple of 3 is wanted");
}

TEST_CASE("numbers of the wrong kind or out of range") {
  for (const char* value : {"8.0", "8.5", "\"8\"", "true", "[8]", "0", "65", "-8", "9223372036854775807",
                            "18446744073709551615", "4294967304", "-9223372036854775808", "1e3"}) {
    CAPTURE(value);
    CHECK_FALSE(refusal([&] { config(std::string("{\"a\":") + value + "}").integer("a", 1, 64); }).empty());
  }
  CHECK_FALSE(refusal([] { config("{\"a\":1}").boolean("a"); }).empty());
  CHECK_FALSE(refusal([] { config("{\"a\":true}").number("a", 0, 1); }).empty());
  CHECK_FALSE(refusal([] { config("{\"a\":\"" + std::string(4097, 'x') + "\"}").string("a"); }).empty());
}

TEST_CASE("labels") {
  const auto labels = [](const std::string& map) { return config("{\"id2label\":" + map + "}").labels("id2label"); };
  CHECK(labels(R"({"0":"a","1":"b","10":"k","2":null})") ==
        std::vector<std::string>{"a", "b", "class 2", "class 3", "class 4", "class 5", "class 6", "class 7", "class 8",
                                 "class 9", "k"});
  CHECK(labels("{}").empty());
  CHECK(labels(R"({"99999":"last"})").size() == 100'000);
  for (const char* map : {R"({"100000":"x"})", R"({"-1":"x"})", R"({"01":"x"})", R"({"":"x"})", R"({"a":"x"})",
                          R"({"1 ":"x"})", R"({"99999999999":"x"})", R"({"0":1})", R"(["a","b"])", R"("a")"}) {
    CAPTURE(map);
    CHECK_FALSE(refusal([&] { labels(map); }).empty());
  }
}

}  // namespace
}  // namespace vistazo
