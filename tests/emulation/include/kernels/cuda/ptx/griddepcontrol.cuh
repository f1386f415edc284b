#pragma once

namespace vistazo::cuda::ptx {

// One kernel runs after the other.
inline void griddepcontrol_wait() {}
inline void griddepcontrol_launch_dependents() {}

}  // namespace vistazo::cuda::ptx
