#pragma once

#include <cstddef>

namespace vistazo::apps {

// What the process may still allocate, by /proc/meminfo and the control group's limit; infinite where neither is known.
double available_memory_bytes();

struct ProcessMemory {
  std::size_t resident_bytes = 0;       // now
  std::size_t peak_resident_bytes = 0;  // since the process started
};

// From /proc/self/status; zeros where there is none.
ProcessMemory process_memory();

}  // namespace vistazo::apps
