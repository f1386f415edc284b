#pragma once

namespace vistazo::cuda::ptx {

template <int kRegisters>
void setmaxnreg_inc() {}
template <int kRegisters>
void setmaxnreg_dec() {}

}  // namespace vistazo::cuda::ptx
