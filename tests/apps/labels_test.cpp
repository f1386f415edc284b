#include <doctest/doctest.h>
#include <vistazo/error.h>

#include "apps/options.h"
#include "tests/weights/support.h"

using vistazo::Error;
using vistazo::apps::read_labels;
using vistazo::testing::message_of;
using vistazo::testing::TemporaryFolder;
using Labels = std::vector<std::string>;

TEST_CASE("labels: one name a line, in any line ending, without blanks around") {
  const TemporaryFolder folder;
  CHECK(read_labels(folder.write("a.txt", "cat\n traffic light \r\nb\xc3\xa4r")) ==
        Labels{"cat", "traffic light", "b\xc3\xa4r"});
  CHECK(read_labels(folder.write("b.txt", "cat\n\ndog\n\n\n")) == Labels{"cat", "class 1", "dog"});
}

TEST_CASE("labels: a list, ids, or a model's config.json") {
  const TemporaryFolder folder;
  CHECK(read_labels(folder.write("a.json", R"( ["cat", "dog"])")) == Labels{"cat", "dog"});
  CHECK(read_labels(folder.write("b.json", R"({"10": "k", "0": "a", "2": "c"})")).size() == 11);
  CHECK(read_labels(folder.write("c.json", R"({"x": 1, "id2label": {"1": "dog", "0": "cat"}})")) ==
        Labels{"cat", "dog"});
  CHECK(read_labels(folder.write("d.json", R"({"2": "c"})")) == Labels{"class 0", "class 1", "c"});
}

TEST_CASE("labels: what is none of these is refused by the file's name") {
  const TemporaryFolder folder;
  for (const char* text : {"", "\n\n", "[]", "{}", "[1]", "{\"a\": \"b\"}", "{\"-1\": \"b\"}", "{\"1x\": \"b\"}",
                           "{\"99999999\": \"b\"}", "{\"0\": 1}", "[\"a\""}) {
    CAPTURE(text);
    const auto path = folder.write("x.txt", text);
    CHECK(message_of(Error::Code::file, [&] { read_labels(path); }).starts_with(path.string()));
  }
  CHECK(message_of(Error::Code::file, [&] { read_labels(folder.path() / "none"); }).find("none") != std::string::npos);
}
