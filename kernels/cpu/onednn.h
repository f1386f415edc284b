#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/base/aligned.h"
#include "kernels/base/dtype.h"
#include "kernels/cpu/thread_pool.h"

// What the operations that run through oneDNN share: its engine, primitives that are prepared once and run by several
// threads at a time, and scratch. oneDNN never uses more than the calling thread here; the thread pool divides the
// work.
namespace vistazo::cpu::onednn {

// One engine for the process: primitives and memory of different engines do not mix.
const dnnl::engine& engine();

dnnl::memory::data_type data_type_of(DType dtype);  // f32, bf16; Error{unsupported} for others
void append_activation(dnnl::post_ops& post_ops, Activation activation);
// With the caller's scratchpad: a primitive that keeps its own must not run on two threads at once.
dnnl::primitive_attr attributes_of(const dnnl::post_ops& post_ops);

// Whether an implementation, as oneDNN names it, is the plain loops that it falls back to.
bool is_reference(const std::string& implementation);

// While it lives, oneDNN (built for OpenMP) sees one thread: it divides the work among the threads that it finds when a
// primitive is made, and starts a parallel region when it runs. Here it does neither.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int previous_;
};

// A primitive (source, weights, perhaps bias -> destination) and all that a run of it needs.
class PreparedPrimitive {
 public:
  // weights and bias share the caller's memory; bias may be empty. Made while a OneThread lives.
  PreparedPrimitive(const dnnl::primitive& primitive, const dnnl::memory& weights, const dnnl::memory& bias);

  // Makes what `runs` runs at a time need; without it the first of them allocate.
  void reserve(int runs) const;

  // Runs on the calling thread. Threads may call it at once. scratch: scratch_bytes() at kAlignment.
  void run(const void* source, void* destination, void* scratch) const;

  std::size_t scratch_bytes() const { return scratchpad_desc_.get_size(); }
  const std::string& implementation() const { return implementation_; }  // as oneDNN names it

 private:
  // Objects that belong to one thread at a time; a run takes a set from the list of idle ones.
  struct Operands {
    dnnl::memory source, destination, scratchpad;
    dnnl::stream stream;
  };
  std::unique_ptr<Operands> make_operands() const;
  std::unique_ptr<Operands> take_operands() const;
  void return_operands(std::unique_ptr<Operands> operands) const;

  dnnl::primitive primitive_;
  dnnl::memory weights_, bias_;
  dnnl::memory::desc source_desc_, destination_desc_, scratchpad_desc_;
  std::string implementation_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Operands>> idle_;
  mutable std::atomic<int> made_{0};
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

// Scratch for one call, taken from a list that all operations share and given back when the call ends. The list grows
// to the most calls at a time and its buffers to the largest call, so later calls allocate nothing.
class CallScratch {
 public:
  explicit CallScratch(std::size_t bytes);
  ~CallScratch();
  CallScratch(const CallScratch&) = delete;
  CallScratch& operator=(const CallScratch&) = delete;

  std::byte* data() const { return buffer_.data(); }  // not initialised

 private:
  AlignedBuffer buffer_;
};

// pool.for_each for a body that may throw: one of the exceptions goes on in the calling thread.
template <typename Body>
void for_each_or_throw(const ThreadPool& pool, std::int64_t items, Body&& body) {
  std::exception_ptr error;
  std::mutex error_mutex;
  pool.for_each(items, [&](std::int64_t item, int worker) {
    try {
      body(item, worker);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

// Rows of `bytes` at one stride to another, in bytes: a column slice into dense scratch, or back.
void copy_rows(const std::byte* from, std::int64_t from_row_bytes, std::byte* to, std::int64_t to_row_bytes,
               std::int64_t rows, std::size_t bytes);

// Copies f32 values into a new memory object of `desc`, converted and reordered. `keep` receives the bytes.
dnnl::memory pack(const float* values, const dnnl::memory::desc& plain, const dnnl::memory::desc& desc,
                  AlignedBuffer& keep);
// The same from a memory object of another layout.
dnnl::memory repack(const dnnl::memory& from, const dnnl::memory::desc& desc, AlignedBuffer& keep);

}  // namespace vistazo::cpu::onednn
