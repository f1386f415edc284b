#include <vistazo/error.h>
#include <vistazo/version.h>

#include <iostream>

// Throws and catches what the library throws, and tells which version it is.
int main() {
  try {
    throw vistazo::Error(vistazo::Error::Code::argument, "thrown by the install test");
  } catch (const vistazo::Error& error) {
    std::cout << "vistazo " << vistazo::kVersion << "; caught: " << error.what() << "\n";
    return error.code == vistazo::Error::Code::argument ? 0 : 1;
  }
}
