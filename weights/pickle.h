#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vistazo {

// What a Python pickle describes, as a graph of values. Nothing is ever called or imported: where Python would call a
// function, there is a value of kind `call` that names it.
class Pickle {
 public:
  using Id = std::uint32_t;
  static constexpr Id kNone = 0;  // the value None

  enum class Kind {
    none,
    boolean,  // integer is 0 or 1
    integer,  // numbers of more than 64 bits are of kind `large`
    large,
    real,
    text,
    bytes,
    list,        // lists, tuples and sets: items
    dict,        // items: key, value, key, value, ...
    global,      // text and name: a module and what it names there
    call,        // callable, arguments; items that were added to the result; state that it was given
    persistent,  // arguments: the id of something that the pickle's owner keeps elsewhere
  };

  struct Value {
    Kind kind = Kind::none;
    std::int64_t integer = 0;
    double real = 0;
    std::string_view text, name;  // in the pickle
    std::vector<Id> items;
    Id callable = kNone, arguments = kNone, state = kNone;
  };

  const Value& operator[](Id id) const { return values_[id]; }
  Id root() const { return root_; }
  std::size_t count() const { return values_.size(); }  // ids are below
  std::size_t bytes() const { return bytes_; }          // of the pickle: something else may follow it

 private:
  friend class PickleReader;
  std::deque<Value> values_{1};
  Id root_ = kNone;
  std::size_t bytes_ = 0;
};

// Whether a pickle may name this. Every name outside of the list is refused, called or not.
using IsAllowedGlobal = bool (*)(std::string_view module, std::string_view name);

// Reads the pickle at the beginning of `bytes`, protocol 2 to 5, texts and bytes staying where they are. The graph may
// have cycles and shared parts: whoever walks it must bound the walk. A pickle has at most 64 MiB, a million values and
// a million memo entries; memory stays below 256 MB whatever it holds.
// Throws Error{file}, its message starting with `source`, for what is cut short, malformed or not allowed.
Pickle read_pickle(std::span<const std::byte> bytes, const std::string& source, IsAllowedGlobal is_allowed);

}  // namespace vistazo
