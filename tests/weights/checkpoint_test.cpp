#include "weights/checkpoint.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "tests/weights/support.h"

namespace vistazo {
namespace {

using testing::safetensors_bytes;
using testing::TemporaryFolder;

// One U8 tensor of four elements for each name.
std::string file_with(const std::vector<std::string>& names) {
  std::string header, data;
  for (const std::string& name : names) {
    header += (header.empty() ? "{\"" : ",\"") + name + R"(":{"dtype":"U8","shape":[4],"data_offsets":[)" +
              std::to_string(data.size()) + "," + std::to_string(data.size() + 4) + "]}";
    data += (name + "?").substr(0, 1) + "123";
  }
  return safetensors_bytes(header + "}", data);
}

std::string refusal(const std::filesystem::path& path) {
  return testing::message_of(Error::Code::file, [&] { open_checkpoint(path); });
}

std::string first_byte(const CheckpointTensor* tensor) {
  return tensor ? std::string(1, static_cast<char>(tensor->bytes[0])) : "none";
}

TEST_CASE("find: every name, and no other") {
  const TemporaryFolder folder;
  const std::vector<std::string> names{"b.weight", "a", "c", "B", "a.b", ""};
  const auto checkpoint = open_checkpoint(folder.write("x.safetensors", file_with(names)));
  CHECK(checkpoint->tensors().size() == names.size());
  CHECK(checkpoint->source() == (folder.path() / "x.safetensors").string());
  for (const std::string& name : names) {
    const CheckpointTensor* tensor = checkpoint->find(name);
    REQUIRE(tensor);
    CHECK(tensor->name == name);
  }
  for (const char* name : {"aa", "b", "d", "b.weight ", "A"}) CHECK(checkpoint->find(name) == nullptr);
}

TEST_CASE("a tensor of an unsupported type is an error when it is asked for") {
  const TemporaryFolder folder;
  const auto path =
      folder.write("x.safetensors", safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                                      R"("steps":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})",
                                                      "123456789"));
  const auto checkpoint = open_checkpoint(path);
  CHECK(checkpoint->find("a"));
  CHECK(testing::message_of(Error::Code::unsupported, [&] { checkpoint->find("steps"); }) ==
        path.string() + R"(: tensor "steps" is of type F64; f32, f16, bf16, i64, i32, u8 and bool can be read)");
}

TEST_CASE("a folder: model.safetensors first, then the index, then a single other file") {
  const TemporaryFolder folder;
  CHECK(refusal(folder.path()) == folder.path().string() +
                                      ": has no model.safetensors and no model.safetensors.index.json, and no other "
                                      ".safetensors files; one is wanted");
  folder.write("config.json", "{}");
  folder.write("other.safetensors", file_with({"other"}));
  CHECK(open_checkpoint(folder.path())->find("other"));
  folder.write("second.safetensors", file_with({"second"}));
  CHECK(refusal(folder.path()).find("and 2 other .safetensors files") != std::string::npos);
  folder.write("model.safetensors.index.json", R"({"weight_map":{"second":"second.safetensors"}})");
  CHECK(open_checkpoint(folder.path())->find("second"));
  folder.write("model.safetensors", file_with({"model"}));
  CHECK(open_checkpoint(folder.path())->find("model"));
}

TEST_CASE("an index joins the tensors of its shards") {
  const TemporaryFolder folder;
  folder.write("one.safetensors", file_with({"z", "a", "unlisted"}));
  folder.write("two.safetensors", file_with({"m", "a"}));
  const auto index = folder.write(
      "model.safetensors.index.json",
      R"({"metadata":{"total_size":12},"weight_map":{"z":"one.safetensors","m":"two.safetensors","a":"two.safetensors"}})");
  const auto checkpoint = open_checkpoint(folder.path());
  CHECK(checkpoint->source() == index.string());
  REQUIRE(checkpoint->tensors().size() == 3);
  CHECK(checkpoint->tensors()[0].name == "a");
  CHECK(checkpoint->tensors()[1].name == "m");
  CHECK(checkpoint->tensors()[2].name == "z");
  CHECK(first_byte(checkpoint->find("z")) == "z");
  CHECK(first_byte(checkpoint->find("m")) == "m");
  CHECK(checkpoint->find("unlisted") == nullptr);
}

TEST_CASE("an index that points elsewhere, or to what is not there") {
  const TemporaryFolder folder;
  folder.write("one.safetensors", file_with({"a"}));
  folder.write("broken.safetensors", "12345678901");
  std::filesystem::create_directory(folder.path() / "sub");
  folder.write("sub/one.safetensors", file_with({"a"}));
  const auto with = [&](const std::string& map) {
    return refusal(folder.write("x.safetensors.index.json", R"({"weight_map":)" + map + "}"));
  };
  CHECK(with(R"({"a":"one.safetensors"})") == "");
  CHECK(with(R"({"a":"../x.safetensors"})") ==
        (folder.path() / "x.safetensors.index.json").string() +
            R"(: shard "../x.safetensors"; the name of a .safetensors file in the same folder is wanted)");
  for (const char* map :
       {R"({"a":"sub/one.safetensors"})", R"({"a":"/etc/passwd"})", R"({"a":"./one.safetensors"})", R"({"a":".."})",
        R"({"a":""})", R"({"a":"one.safetensors\u0000"})", R"({"a":"a\\one.safetensors"})", R"({"a":"config.json"})",
        R"({"a":7})", R"({"a":null})", R"({"a":"one.safetensors","a":"one.safetensors"})", R"([])",
        R"("one.safetensors")", R"({"a":"missing.safetensors"})", R"({"b":"one.safetensors"})",
        R"({"a":"broken.safetensors"})"}) {
    CAPTURE(map);
    CHECK_FALSE(with(map).empty());
  }
  CHECK(with(R"({"a":"missing.safetensors"})").find("missing.safetensors: cannot be opened") != std::string::npos);
  CHECK(with(R"({"b":"one.safetensors"})").find(R"(tensor "b" is not in "one.safetensors")") != std::string::npos);
  CHECK_FALSE(refusal(folder.write("y.safetensors.index.json", "{}")).empty());
  CHECK_FALSE(refusal(folder.write("z.safetensors.index.json", "")).empty());
}

TEST_CASE("paths that are not checkpoints") {
  const TemporaryFolder folder;
  CHECK(refusal(folder.path() / "none") == (folder.path() / "none").string() + ": no such file or folder");
  CHECK(refusal(folder.path() / "none.safetensors").find("No such file") != std::string::npos);
  CHECK(refusal(folder.write("model.onnx", "x")).find("is wanted") != std::string::npos);
  CHECK(refusal(folder.write("empty.safetensors", "")).find("too few") != std::string::npos);
  std::filesystem::create_directory(folder.path() / "folder.safetensors");
  CHECK_FALSE(refusal(folder.path() / "folder.safetensors").empty());
  const std::filesystem::path pipe = folder.path() / "pipe.safetensors";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(refusal(pipe).find("is a pipe or a device") != std::string::npos);
  std::filesystem::create_symlink("/dev/zero", folder.path() / "device.safetensors");
  CHECK(refusal(folder.path() / "device.safetensors").find("is a pipe or a device") != std::string::npos);
}

TEST_CASE("a folder called model.safetensors inside the folder is refused, not followed") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() / "model.safetensors");
  CHECK(refusal(folder.path()).find("is a folder; a file is wanted") != std::string::npos);
}

}  // namespace
}  // namespace vistazo
