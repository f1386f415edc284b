#pragma once

#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/base/aligned.h"
#include "kernels/base/dtype.h"

// What the operations that run through oneDNN share: its engine and streams, the size of its team, and primitives that
// are prepared once and run by several threads at a time.
namespace vistazo::cpu::onednn {

// One engine for the process: primitives and memory of different engines do not mix.
const dnnl::engine& engine();
// A stream belongs to one thread at a time, so each thread has its own.
dnnl::stream& thread_stream();

dnnl::memory::data_type data_type_of(DType dtype);  // f32, bf16; Error{unsupported} for others
void append_activation(dnnl::post_ops& post_ops, Activation activation);
// With the caller's scratchpad: a primitive that keeps its own must not run on two threads at once.
dnnl::primitive_attr attributes_of(const dnnl::post_ops& post_ops);

// Whether an implementation, as oneDNN names it, is the plain loops that it falls back to.
bool is_reference(const std::string& implementation);

// While it lives, this thread's parallel regions have `threads` threads. oneDNN divides the work among the threads that
// it finds when a primitive is made and starts its own regions when it runs: both need the same number.
class TeamSize {
 public:
  explicit TeamSize(int threads);
  ~TeamSize();
  TeamSize(const TeamSize&) = delete;
  TeamSize& operator=(const TeamSize&) = delete;

 private:
  int previous_;
};

// The threads that a primitive can have here: inside a parallel region, only the calling one.
int team_size(int pool_threads);

// A primitive (source, weights, perhaps bias -> destination) and all that a run of it needs.
class PreparedPrimitive {
 public:
  // weights and bias share the caller's memory; bias may be empty.
  PreparedPrimitive(const dnnl::primitive& primitive, const dnnl::memory& weights, const dnnl::memory& bias);

  // Runs on the calling thread's OpenMP team. Threads may call it at once; each run takes memory objects and a
  // scratchpad from a list that grows to the most runs at a time, so later runs allocate nothing here.
  void run(const void* source, void* destination) const;

  const std::string& implementation() const { return implementation_; }  // as oneDNN names it

 private:
  struct Operands {
    dnnl::memory source, destination, scratchpad;
    AlignedBuffer scratchpad_bytes;
  };
  std::unique_ptr<Operands> take_operands() const;
  void return_operands(std::unique_ptr<Operands> operands) const;

  dnnl::primitive primitive_;
  dnnl::memory weights_, bias_;
  dnnl::memory::desc source_desc_, destination_desc_, scratchpad_desc_;
  std::string implementation_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Operands>> idle_;
};

// The last primitives made, by key. At most kCapacity: a program that sees ever new sizes must not grow for ever.
template <typename Key>
class PrimitiveCache {
 public:
  static constexpr std::size_t kCapacity = 64;

  // The primitive of `key`, made by make() (a std::shared_ptr<const PreparedPrimitive>) where there is none.
  template <typename Make>
  std::shared_ptr<const PreparedPrimitive> get(const Key& key, Make&& make) {
    const std::lock_guard lock(mutex_);
    ++clock_;
    for (Entry& entry : entries_) {
      if (!(entry.key == key)) continue;
      entry.last_use = clock_;
      return entry.primitive;
    }
    Entry made{key, clock_, make()};
    if (entries_.size() < kCapacity) {
      entries_.push_back(made);
    } else {
      auto oldest = entries_.begin();
      for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
        if (entry->last_use < oldest->last_use) oldest = entry;
      }
      *oldest = made;
    }
    return made.primitive;
  }

 private:
  struct Entry {
    Key key;
    std::uint64_t last_use;
    std::shared_ptr<const PreparedPrimitive> primitive;
  };
  std::mutex mutex_;
  std::uint64_t clock_ = 0;
  std::vector<Entry> entries_;
};

// Scratch that outlives a run: it grows to the most buffers taken at a time.
class BufferList {
 public:
  AlignedBuffer take(std::size_t bytes);  // at least `bytes`, not initialised
  void give_back(AlignedBuffer buffer);

 private:
  std::mutex mutex_;
  std::vector<AlignedBuffer> idle_;
};

// Copies f32 values into a new memory object of `desc`, converted and reordered. `keep` receives the bytes.
dnnl::memory pack(const float* values, const dnnl::memory::desc& plain, const dnnl::memory::desc& desc,
                  AlignedBuffer& keep);

}  // namespace vistazo::cpu::onednn
