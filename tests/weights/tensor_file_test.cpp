#include "weights/tensor_file.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tests/weights/support.h"

namespace vistazo {
namespace {

using testing::TemporaryFolder;

CheckpointTensor tensor_of(const std::string& name, DType dtype, std::vector<std::int64_t> shape,
                           const std::string& bytes) {
  return {name, dtype, std::move(shape), std::as_bytes(std::span(bytes))};
}

TEST_CASE("what is written is read back, aligned for its type") {
  const TemporaryFolder folder;
  const std::string three = "abc", eight = "01234567", sixteen = "0123456789abcdef", none;
  const std::vector<CheckpointTensor> tensors{
      tensor_of("u", DType::u8, {3}, three),         tensor_of("z", DType::f32, {2, 1}, eight),
      tensor_of("a", DType::f32, {4}, sixteen),      tensor_of("i", DType::i64, {}, eight),
      tensor_of("empty", DType::bf16, {0, 7}, none), tensor_of("t", DType::boolean, {1, 3}, three),
      tensor_of("h", DType::f16, {4}, eight),        tensor_of("quote\"\\", DType::i32, {1, 2}, eight)};
  const auto path = folder.path() / "out.safetensors";
  write_safetensors(path, tensors);
  const auto checkpoint = open_checkpoint(path);
  CHECK(checkpoint->tensors().size() == tensors.size());
  for (const CheckpointTensor& wanted : tensors) {
    CAPTURE(wanted.name);
    const CheckpointTensor* found = checkpoint->find(wanted.name);
    REQUIRE(found);
    CHECK(found->dtype == wanted.dtype);
    CHECK(found->shape == wanted.shape);
    CHECK(std::equal(found->bytes.begin(), found->bytes.end(), wanted.bytes.begin(), wanted.bytes.end()));
    CHECK(reinterpret_cast<std::uintptr_t>(found->bytes.data()) % size_of(found->dtype) == 0);
  }
}

TEST_CASE("the file replaces an older one and leaves nothing beside it") {
  const TemporaryFolder folder;
  const auto path = folder.write("out.safetensors", "old");
  const std::string bytes = "x";
  write_safetensors(path, std::vector{tensor_of("a", DType::u8, {1}, bytes)});
  CHECK(open_checkpoint(path)->find("a"));
  write_safetensors(path, {});
  CHECK(open_checkpoint(path)->tensors().empty());
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("tensors that cannot be written") {
  const TemporaryFolder folder;
  const std::string bytes = "1234";
  const auto refusal = [&](const std::vector<CheckpointTensor>& tensors) {
    return testing::message_of(Error::Code::argument,
                               [&] { write_safetensors(folder.path() / "out.safetensors", tensors); });
  };
  const CheckpointTensor good = tensor_of("a", DType::u8, {4}, bytes);
  CHECK(refusal({good}) == "");
  CHECK(refusal({good, good}) == R"(write_safetensors: tensor "a" is given twice)");
  CHECK_FALSE(refusal({tensor_of("a", DType::u8, {5}, bytes)}).empty());
  CHECK_FALSE(refusal({tensor_of("a", DType::u8, {-2, -2}, bytes)}).empty());
  CHECK_FALSE(refusal({tensor_of("a", DType::u8, {1LL << 62, 1LL << 62}, bytes)}).empty());
  CHECK_FALSE(refusal({tensor_of("__metadata__", DType::u8, {4}, bytes)}).empty());
  CHECK_FALSE(refusal({tensor_of(std::string(1025, 'n'), DType::u8, {4}, bytes)}).empty());
  CHECK_FALSE(refusal({tensor_of("\xff", DType::u8, {4}, bytes)}).empty());
}

TEST_CASE("a folder that is not there") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "none" / "out.safetensors";
  CHECK(testing::message_of(Error::Code::file, [&] { write_safetensors(path, {}); }) ==
        path.string() + ": cannot be created: No such file or directory");
}

}  // namespace
}  // namespace vistazo
