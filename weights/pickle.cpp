#include "weights/pickle.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "kernels/base/error.h"
#include "weights/printable.h"

// A pickle is a program for a stack machine (Python's Lib/pickletools.py describes its opcodes). This one only ever
// pushes descriptions.
namespace vistazo {
namespace {

constexpr std::size_t kMostBytes = std::size_t{64} << 20;
constexpr std::size_t kMostValues = 1'000'000;  // a training checkpoint of a large detector has about 20,000
constexpr std::size_t kMostItems = 4'000'000;   // of all lists and dicts

}  // namespace

class PickleReader {
 public:
  PickleReader(std::span<const std::byte> bytes, const std::string& source, IsAllowedGlobal is_allowed)
      : bytes_(bytes.first(std::min(bytes.size(), kMostBytes))), source_(source), is_allowed_(is_allowed) {}

  Pickle read() {
    while (step(static_cast<unsigned char>(take<std::uint8_t>()))) {
    }
    if (stack_.size() != 1) refuse("ends with {} values; one is wanted", stack_.size());
    pickle_.root_ = stack_.front();
    pickle_.bytes_ = at_;
    return std::move(pickle_);
  }

 private:
  using Id = Pickle::Id;
  using Kind = Pickle::Kind;
  using Value = Pickle::Value;

  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    const std::string problem = fmt::format(format, std::forward<Args>(args)...);
    fail(Error::Code::file, "{}: its pickle {} (at byte {})", source_, problem, at_);
  }

  // --- bytes

  std::span<const std::byte> take_bytes(std::uint64_t count) {
    if (count > bytes_.size() - at_)
      refuse("{}", bytes_.size() == kMostBytes ? "is longer than 64 MiB" : "is cut short");
    at_ += count;
    return bytes_.subspan(at_ - count, count);
  }

  template <typename Integer>
  Integer take() {
    Integer value;
    std::memcpy(&value, take_bytes(sizeof(value)).data(), sizeof(value));
    return value;
  }

  std::string_view take_text(std::uint64_t count) {
    const std::span<const std::byte> text = take_bytes(count);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

  std::string_view take_line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_, bytes_.size() - at_);
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) refuse("is cut short");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  // --- values

  Value& make(Kind kind) {
    if (pickle_.values_.size() >= kMostValues) refuse("has more than {} values", kMostValues);
    Value& value = pickle_.values_.emplace_back();
    value.kind = kind;
    push(static_cast<Id>(pickle_.values_.size() - 1));
    return value;
  }

  bool make_integer(std::int64_t value, Kind kind = Kind::integer) {
    make(kind).integer = value;
    return true;
  }

  bool make_text(std::string_view text, Kind kind = Kind::text) {
    make(kind).text = text;
    return true;
  }

  // Little-endian, two's complement, of any length.
  bool make_long(std::uint64_t count) {
    const std::span<const std::byte> bytes = take_bytes(count);
    if (count > sizeof(std::int64_t))
      return make_text({reinterpret_cast<const char*>(bytes.data()), count}, Kind::large);
    const bool is_negative = count > 0 && (bytes.back() & std::byte{0x80}) != std::byte{0};
    std::int64_t value = is_negative ? -1 : 0;
    if (count > 0) std::memcpy(&value, bytes.data(), count);
    return make_integer(value);
  }

  bool make_real() {
    std::uint64_t bits = __builtin_bswap64(take<std::uint64_t>());  // the one big-endian number of the format
    std::memcpy(&make(Kind::real).real, &bits, sizeof(bits));
    return true;
  }

  bool make_global(std::string_view module, std::string_view name) {
    if (!is_allowed_(module, name)) {
      fail(Error::Code::file,
           "{}: refers to {} of {}, which no table of weights needs; nothing in a checkpoint is executed. If it is "
           "yours, save model.state_dict() alone",
           source_, in_quotes(name), in_quotes(module));
    }
    Value& value = make(Kind::global);
    value.text = module;
    value.name = name;
    return true;
  }

  // --- stack

  void push(Id id) {
    if (stack_.size() >= kMostValues) refuse("has more than {} values on its stack", kMostValues);
    stack_.push_back(id);
  }

  Id pop() {
    if (stack_.size() <= floor()) refuse("takes a value from an empty stack");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }

  Value& top() {
    if (stack_.size() <= floor()) refuse("looks at an empty stack");
    return pickle_.values_[stack_.back()];
  }

  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  // What lies above the last mark, which is removed.
  std::vector<Id> pop_to_mark() {
    if (marks_.empty()) refuse("has no mark where one is wanted");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Id> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }

  std::vector<Id> pop_several(std::size_t count) {
    std::vector<Id> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }

  bool make_list(std::vector<Id> items, Kind kind = Kind::list) {
    count_items(items.size());
    if (kind == Kind::dict && items.size() % 2 != 0) refuse("has a dict with a key without value");
    make(kind).items = std::move(items);
    return true;
  }

  // Onto the value below.
  bool add_items(const std::vector<Id>& items, bool are_pairs) {
    count_items(items.size());
    if (are_pairs && items.size() % 2 != 0) refuse("has a dict with a key without value");
    Value& value = top();
    if (value.kind != Kind::call && value.kind != (are_pairs ? Kind::dict : Kind::list)) {
      refuse("adds {} to something else", are_pairs ? "pairs" : "items");
    }
    value.items.insert(value.items.end(), items.begin(), items.end());
    return true;
  }

  void count_items(std::size_t count) {
    items_ += count;
    if (items_ > kMostItems) refuse("has more than {} items", kMostItems);
  }

  // callable, arguments -> call
  bool make_call() {
    const Id arguments = pop(), callable = pop();
    Value& value = make(Kind::call);
    value.callable = callable;
    value.arguments = arguments;
    return true;
  }

  bool set_state() {
    const Id state = pop();
    if (top().kind != Kind::call) refuse("gives a state to something that was not made by a call");
    top().state = state;
    return true;
  }

  bool memorise(std::uint32_t index) {
    top();  // there must be one
    if (memo_.size() >= kMostValues) refuse("has more than {} memo entries", kMostValues);
    memo_[index] = stack_.back();
    return true;
  }

  bool recall(std::uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) refuse("recalls memo entry {}, which it never made", index);
    push(found->second);
    return true;
  }

  bool make_stack_global() {
    const std::vector<Id> names = pop_several(2);
    const Value &module = pickle_[names[0]], &name = pickle_[names[1]];
    if (module.kind != Kind::text || name.kind != Kind::text) refuse("names a global by something else than texts");
    return make_global(module.text, name.text);
  }

  bool start(std::uint8_t protocol) {
    if (protocol < 2 || protocol > 5) refuse("is of protocol {}; 2 to 5 are known", protocol);
    return true;
  }

  bool make_persistent() {
    const Id id = pop();
    make(Kind::persistent).arguments = id;
    return true;
  }

  // Runs one opcode; false behind the last one. In the order of the protocols that brought them.
  bool step(unsigned char opcode) {
    switch (opcode) {
      case '(':  // MARK
        if (marks_.size() >= kMostValues) refuse("has more than {} marks", kMostValues);
        marks_.push_back(stack_.size());
        return true;
      case '.':  // STOP
        return false;
      case '0':  // POP: a value, or the mark above it
        if (stack_.size() == floor() && !marks_.empty()) {
          marks_.pop_back();
        } else {
          pop();
        }
        return true;
      case '1':  // POP_MARK
        pop_to_mark();
        return true;
      case '2':  // DUP
        top();
        push(stack_.back());
        return true;
      case 'N':
        push(Pickle::kNone);
        return true;
      case 'J':  // BININT
        return make_integer(take<std::int32_t>());
      case 'K':  // BININT1
        return make_integer(take<std::uint8_t>());
      case 'M':  // BININT2
        return make_integer(take<std::uint16_t>());
      case 'G':  // BINFLOAT
        return make_real();
      case 'T':  // BINSTRING
        return make_text(take_text(take<std::uint32_t>()));
      case 'U':  // SHORT_BINSTRING
        return make_text(take_text(take<std::uint8_t>()));
      case 'X':  // BINUNICODE
        return make_text(take_text(take<std::uint32_t>()));
      case '}':  // EMPTY_DICT
        return make_list({}, Kind::dict);
      case ']':  // EMPTY_LIST
      case ')':  // EMPTY_TUPLE
        return make_list({});
      case 'd':  // DICT
        return make_list(pop_to_mark(), Kind::dict);
      case 'l':  // LIST
      case 't':  // TUPLE
        return make_list(pop_to_mark());
      case 'a':  // APPEND
        return add_items(pop_several(1), false);
      case 'e':  // APPENDS
        return add_items(pop_to_mark(), false);
      case 's':  // SETITEM
        return add_items(pop_several(2), true);
      case 'u':  // SETITEMS
        return add_items(pop_to_mark(), true);
      case 'c': {  // GLOBAL
        const std::string_view module = take_line();
        return make_global(module, take_line());
      }
      case 'R':  // REDUCE
        return make_call();
      case 'b':  // BUILD
        return set_state();
      case 'Q':  // BINPERSID
        return make_persistent();
      case 'q':  // BINPUT
        return memorise(take<std::uint8_t>());
      case 'r':  // LONG_BINPUT
        return memorise(take<std::uint32_t>());
      case 'h':  // BINGET
        return recall(take<std::uint8_t>());
      case 'j':  // LONG_BINGET
        return recall(take<std::uint32_t>());
      default:
        return step_protocol_2(opcode);
    }
  }

  bool step_protocol_2(unsigned char opcode) {
    switch (opcode) {
      case 0x80:  // PROTO
        return start(take<std::uint8_t>());
      case 0x81:  // NEWOBJ
        return make_call();
      case 0x85:  // TUPLE1, TUPLE2, TUPLE3
      case 0x86:
      case 0x87:
        return make_list(pop_several(opcode - 0x84u));
      case 0x88:  // NEWTRUE
        return make_integer(1, Kind::boolean);
      case 0x89:  // NEWFALSE
        return make_integer(0, Kind::boolean);
      case 0x8a:  // LONG1
        return make_long(take<std::uint8_t>());
      case 0x8b:  // LONG4
        return make_long(take<std::uint32_t>());
      case 'B':  // BINBYTES, protocol 3
        return make_text(take_text(take<std::uint32_t>()), Kind::bytes);
      case 'C':  // SHORT_BINBYTES
        return make_text(take_text(take<std::uint8_t>()), Kind::bytes);
      default:
        return step_protocol_4(opcode);
    }
  }

  bool step_protocol_4(unsigned char opcode) {
    switch (opcode) {
      case 0x8c:  // SHORT_BINUNICODE
        return make_text(take_text(take<std::uint8_t>()));
      case 0x8d:  // BINUNICODE8
        return make_text(take_text(take<std::uint64_t>()));
      case 0x8e:  // BINBYTES8
      case 0x96:  // BYTEARRAY8, protocol 5
        return make_text(take_text(take<std::uint64_t>()), Kind::bytes);
      case 0x8f:  // EMPTY_SET
        return make_list({});
      case 0x90:  // ADDITEMS
        return add_items(pop_to_mark(), false);
      case 0x91:  // FROZENSET
        return make_list(pop_to_mark());
      case 0x92: {  // NEWOBJ_EX: its arguments by name are of no use here
        pop();
        return make_call();
      }
      case 0x93:  // STACK_GLOBAL
        return make_stack_global();
      case 0x94:  // MEMOIZE
        return memorise(static_cast<std::uint32_t>(memo_.size()));
      case 0x95:  // FRAME: how much follows, for buffers
        take<std::uint64_t>();
        return true;
      default:
        refuse("has opcode 0x{:02x}, which no checkpoint needs", opcode);
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& source_;
  IsAllowedGlobal is_allowed_;
  std::size_t at_ = 0;
  Pickle pickle_;
  std::vector<Id> stack_;
  std::vector<std::size_t> marks_;  // heights of the stack
  std::unordered_map<std::uint32_t, Id> memo_;
  std::size_t items_ = 0;
};

Pickle read_pickle(std::span<const std::byte> bytes, const std::string& source, IsAllowedGlobal is_allowed) {
  return PickleReader(bytes, source, is_allowed).read();
}

}  // namespace vistazo
