#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "weights/safetensors.h"

namespace vistazo {

// The tensors of a PyTorch checkpoint, and what they need beside the file.
struct TorchTensors {
  TensorTable table;
  std::vector<std::vector<std::byte>> buffers;  // tensors that lie in the file neither whole nor in a row
  std::string part;                             // where in the checkpoint they were: "ema.module", "" for all of it
};

// Reads what torch.save() writes (.pth, .pt): the ZIP archives of PyTorch 1.6 and later, and the older files without an
// archive. Nothing is executed: the pickle may name what builds tensors and dicts, and what training scripts leave
// beside them (argparse.Namespace, paths, NumPy scalars), which stays a name.
//
// Of a training checkpoint, the averaged weights are taken where there are some (ema.module, ema, ema_state_dict,
// ema_model, model_ema, params_ema), else the model's (model, state_dict, model_state_dict, params, net), else the
// checkpoint itself is the table. A prefix that wrappers put before every name ("module.", "_orig_mod.") is taken off.
//
// Tensors that share a storage, and views of part of one, are read as PyTorch reads them. Contiguous ones point into
// `file`. What is compressed or has to be gathered may be 16 times the file and 64 MiB more. Throws Error{file}, its
// message starting with `source`, for anything malformed or hostile, Error{unsupported} for big-endian files,
// TorchScript programs and PyTorch's files of before 2017.
TorchTensors parse_torch(std::span<const std::byte> file, const std::string& source);

}  // namespace vistazo
