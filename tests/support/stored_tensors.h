#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace vistazo::testing {

// Reads tests/data/<file>, a small .safetensors file of expected values. Trusts the file; the library's own reader is
// under test elsewhere and is not used here.
class StoredTensors {
 public:
  explicit StoredTensors(const std::string& file) {
    std::ifstream stream(std::string(VISTAZO_TEST_DATA) + "/" + file, std::ios::binary);
    if (!stream) throw std::runtime_error("tests/data/" + file + " cannot be read");
    std::uint64_t header_bytes = 0;
    stream.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
    std::string header(header_bytes, '\0');
    stream.read(header.data(), static_cast<std::streamsize>(header_bytes));
    header_ = nlohmann::json::parse(header);
    bytes_.assign(std::istreambuf_iterator<char>(stream), {});
  }

  // A dimension of a tensor.
  int size(const std::string& name, int axis) const { return header_.at(name).at("shape").at(axis).get<int>(); }

  // T must be the stored element type.
  template <typename T>
  std::vector<T> read(const std::string& name) const {
    const auto begin = header_.at(name).at("data_offsets").at(0).get<std::size_t>();
    const auto end = header_.at(name).at("data_offsets").at(1).get<std::size_t>();
    std::vector<T> values((end - begin) / sizeof(T));
    std::memcpy(values.data(), bytes_.data() + begin, end - begin);
    return values;
  }

 private:
  nlohmann::json header_;
  std::vector<char> bytes_;
};

}  // namespace vistazo::testing
