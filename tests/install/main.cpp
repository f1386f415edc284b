#include <vistazo/detector.h>
#include <vistazo/version.h>

#include <iostream>
#include <vector>

// Detects in a black image with the model folder that argv[1] names.
int main(int, char** argv) try {
  const std::vector<std::uint8_t> pixels(3 * 64 * 64);
  const vistazo::Detector detector = vistazo::Detector::load(argv[1]);
  const auto found = detector.detect({pixels.data(), 64, 64, 3 * 64, vistazo::PixelFormat::rgb8});
  std::cout << "vistazo " << vistazo::kVersion << ": " << found.size() << " detections\n";
} catch (const vistazo::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
