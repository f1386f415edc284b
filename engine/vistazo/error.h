#pragma once

#include <stdexcept>
#include <string>

namespace vistazo {

// What the library throws. what() names the thing (file, tensor, argument), what was found, what was wanted, what to
// do.
class Error : public std::runtime_error {
 public:
  enum class Code {
    file,         // a file or folder is missing, unreadable or malformed
    weights,      // a tensor is missing, misshapen, unread or not finite
    unsupported,  // valid, but this build or version cannot do it
    argument,     // the caller's value is out of range
    device,       // no such device, or it failed
  };

  Error(Code c, const std::string& message) : std::runtime_error(message), code(c) {}

  const Code code;
};

}  // namespace vistazo
