#pragma once

#include <vistazo/gpu_video.h>
#include <vistazo/yuv_image.h>

#include <memory>

#include "kernels/base/stream.h"

namespace vistazo {

// Makes frames of the surfaces that a video engine decodes into. All that a decoder needs of CUDA is here.
class Surfaces {
 public:
  virtual ~Surfaces() = default;

  // Around every use of the video library on a thread.
  class Turn {
   public:
    explicit Turn(Surfaces& surfaces) : surfaces_(surfaces), before_(surfaces.enter()) {}
    ~Turn() { surfaces_.leave(before_); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Surfaces& surfaces_;
    int before_;
  };

  // That the video engine writes surfaces on.
  virtual CudaStream stream() = 0;
  // The surface's pixels in memory of their own. When it returns, the surface is read.
  virtual GpuFrame convert(const YuvImage& surface) = 0;

 private:
  // Makes the GPU the thread's, and gives back what leave() needs to undo that.
  virtual int enter() = 0;
  virtual void leave(int before) = 0;
};

// Throws Error{device} where there is no such GPU.
std::unique_ptr<Surfaces> make_cuda_surfaces(int gpu);

}  // namespace vistazo
