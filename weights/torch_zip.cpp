#include "weights/torch_zip.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "kernels/base/error.h"
#include "weights/printable.h"
#include "weights/torch_tensors.h"
#include "weights/zip_file.h"

// The two file layouts of torch.save(): an archive with a pickle (data.pkl) and an entry for each storage (data/<key>),
// and the older row of pickles with the storages behind them.
namespace vistazo {
namespace {

using Kind = Pickle::Kind;

constexpr std::string_view kPickleName = "data.pkl";
constexpr std::size_t kMostSpare = std::size_t{64} << 20;

std::uint64_t spare_bytes(std::span<const std::byte> file) {
  return kMostSpare + 16 * static_cast<std::uint64_t>(file.size());
}

// --- archives

// Contents of entries; those that are packed are unpacked once.
class Archive {
 public:
  Archive(std::span<const std::byte> file, const std::string& source)
      : entries_(parse_zip(file, source)), unpack_left_(spare_bytes(file)), source_(source) {}

  const ZipEntry* find(std::string_view name) const {
    const auto place = std::ranges::lower_bound(entries_, name, {}, &ZipEntry::name);
    return place != entries_.end() && place->name == name ? &*place : nullptr;
  }

  // The folder of the one pickle, with its slash: "archive/".
  std::string_view root() const {
    std::vector<std::string_view> roots;
    for (const ZipEntry& entry : entries_) {
      const bool is_pickle = entry.name == kPickleName || entry.name.ends_with("/data.pkl");
      if (is_pickle) roots.push_back(entry.name.substr(0, entry.name.size() - kPickleName.size()));
    }
    if (roots.size() == 1) return roots.front();
    fail(Error::Code::file, "{}: a ZIP archive with {} data.pkl; a PyTorch checkpoint has one", source_,
         roots.empty() ? "no" : "more than one");
  }

  std::span<const std::byte> content(const ZipEntry& entry) {
    if (!entry.is_deflated) return entry.data;
    const auto known = unpacked_.find(entry.name);
    if (known != unpacked_.end()) return known->second;
    if (entry.size > unpack_left_) {
      fail(Error::Code::file, "{}: entry {} says that it unpacks to {} bytes, more than the file's size allows",
           source_, in_quotes(entry.name), entry.size);
    }
    unpack_left_ -= entry.size;
    return unpacked_.emplace(entry.name, inflate_entry(entry, source_)).first->second;
  }

  // What the contents that were asked for point into, beside the file.
  std::vector<std::vector<std::byte>> take_unpacked() {
    std::vector<std::vector<std::byte>> buffers;
    for (auto& [name, bytes] : unpacked_) buffers.push_back(std::move(bytes));
    return buffers;
  }

 private:
  std::vector<ZipEntry> entries_;
  std::map<std::string_view, std::vector<std::byte>> unpacked_;
  std::uint64_t unpack_left_;
  const std::string& source_;
};

void require_little_endian(Archive& archive, const std::string& root, const std::string& source) {
  const ZipEntry* entry = archive.find(root + "byteorder");  // since PyTorch 2.1
  if (!entry) return;
  const std::span<const std::byte> content = archive.content(*entry);
  const std::string_view order(reinterpret_cast<const char*>(content.data()), content.size());
  if (order == "little") return;
  fail(Error::Code::unsupported, "{}: its byte order is {}; little is wanted: save it again on such a machine", source,
       in_quotes(order));
}

TorchTensors parse_archive(std::span<const std::byte> file, const std::string& source) {
  Archive archive(file, source);
  const std::string root(archive.root());
  if (archive.find(root + "constants.pkl")) {
    fail(Error::Code::unsupported, "{}: is a TorchScript program, which would have to be run; save model.state_dict()",
         source);
  }
  require_little_endian(archive, root, source);
  const Pickle pickle =
      read_pickle(archive.content(*archive.find(root + std::string(kPickleName))), source, is_torch_global);
  const FindStorage find_storage = [&](const StorageReference& storage) {
    const ZipEntry* entry = archive.find(root + "data/" + std::string(storage.key));
    if (!entry) fail(Error::Code::file, "{}: has no storage {}; is it cut short?", source, in_quotes(storage.key));
    const std::uint64_t wanted = storage.elements * storage.element->bytes;
    if (entry->size < wanted) {
      fail(Error::Code::file, "{}: storage {} has {} bytes; {} elements of {} need {}", source, in_quotes(storage.key),
           entry->size, storage.elements, storage.element->name, wanted);
    }
    return archive.content(*entry).first(wanted);
  };
  TorchTensors tensors = collect_tensors(pickle, find_storage, spare_bytes(file), source);
  for (auto& buffer : archive.take_unpacked()) tensors.buffers.push_back(std::move(buffer));
  return tensors;
}

// --- older files: pickles of a magic number, a version, the machine's properties, the checkpoint and the keys of its
// storages; then each storage with its number of elements before it

constexpr unsigned char kMagic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

bool is_magic(const Pickle& pickle) {
  const Pickle::Value& value = pickle[pickle.root()];
  return value.kind == Kind::large && value.text.size() == sizeof(kMagic) &&
         std::memcmp(value.text.data(), kMagic, sizeof(kMagic)) == 0;
}

void require_little_endian(const Pickle& system, const std::string& source) {
  const Pickle::Value& properties = system[system.root()];
  for (std::size_t i = 0; i + 1 < properties.items.size(); i += 2) {
    if (system[properties.items[i]].text != "little_endian") continue;
    if (system[properties.items[i + 1]].integer == 1) continue;
    fail(Error::Code::unsupported, "{}: was saved on a big-endian machine; save it again on a little-endian one",
         source);
  }
}

struct LegacyStorage {
  std::span<const std::byte> bytes;
  std::uint64_t elements = 0;
};

// rest: from the first storage on.
std::map<std::string_view, LegacyStorage> read_storages(const Pickle& checkpoint, const Pickle& keys,
                                                        std::span<const std::byte> rest, const std::string& source) {
  std::map<std::string_view, const TorchElement*> elements;
  for (Pickle::Id id = 0; id < checkpoint.count(); ++id) {
    if (checkpoint[id].kind != Kind::persistent) continue;
    const StorageReference storage = read_storage_reference(checkpoint, id, source);
    elements.emplace(storage.key, storage.element);
  }
  std::map<std::string_view, LegacyStorage> storages;
  for (const Pickle::Id id : keys[keys.root()].items) {
    const std::string_view key = keys[id].text;
    const auto element = elements.find(key);
    if (element == elements.end()) {
      fail(Error::Code::file, "{}: storage {} belongs to no tensor", source, in_quotes(key));
    }
    std::uint64_t count = 0;
    if (rest.size() < sizeof(count)) fail(Error::Code::file, "{}: is cut short before its storages", source);
    std::memcpy(&count, rest.data(), sizeof(count));
    rest = rest.subspan(sizeof(count));
    if (count > rest.size() / element->second->bytes) {
      fail(Error::Code::file, "{}: storage {} of {} elements reaches behind the end of the file; is it cut short?",
           source, in_quotes(key), count);
    }
    const std::size_t bytes = count * element->second->bytes;
    if (!storages.emplace(key, LegacyStorage{rest.first(bytes), count}).second) {
      fail(Error::Code::file, "{}: storage {} appears twice", source, in_quotes(key));
    }
    rest = rest.subspan(bytes);
  }
  return storages;
}

TorchTensors parse_legacy(std::span<const std::byte> file, const std::string& source) {
  std::span<const std::byte> rest = file;
  const auto next = [&] {
    Pickle pickle = read_pickle(rest, source, is_torch_global);
    rest = rest.subspan(pickle.bytes());
    return pickle;
  };
  if (!is_magic(next())) {
    fail(Error::Code::file, "{}: is a pickle, but none of PyTorch's; torch.save(model.state_dict(), ...) writes one",
         source);
  }
  next();  // the layout's version, 1001 ever since
  require_little_endian(next(), source);
  const Pickle checkpoint = next();
  const Pickle keys = next();
  const auto storages = read_storages(checkpoint, keys, rest, source);
  const FindStorage find_storage = [&](const StorageReference& storage) {
    const auto found = storages.find(storage.key);
    if (found == storages.end()) fail(Error::Code::file, "{}: has no storage {}", source, in_quotes(storage.key));
    const std::uint64_t wanted = storage.view_offset + storage.elements;
    if (found->second.elements < wanted) {
      fail(Error::Code::file, "{}: storage {} has {} elements; a tensor needs {}", source, in_quotes(storage.key),
           found->second.elements, wanted);
    }
    const std::size_t size = storage.element->bytes;
    if (found->second.bytes.size() / size < wanted) {
      fail(Error::Code::file, "{}: storage {} is referred to with two element types", source, in_quotes(storage.key));
    }
    return found->second.bytes.subspan(storage.view_offset * size, storage.elements * size);
  };
  return collect_tensors(checkpoint, find_storage, spare_bytes(file), source);
}

bool starts_with(std::span<const std::byte> file, std::string_view text, std::size_t offset = 0) {
  return file.size() >= offset + text.size() && std::memcmp(file.data() + offset, text.data(), text.size()) == 0;
}

}  // namespace

TorchTensors parse_torch(std::span<const std::byte> file, const std::string& source) {
  constexpr std::size_t kTarMagic = 257;
  if (starts_with(file, "PK")) return parse_archive(file, source);
  if (starts_with(file, "\x80")) return parse_legacy(file, source);
  if (starts_with(file, "ustar", kTarMagic)) {
    fail(Error::Code::unsupported, "{}: is a tar archive, as PyTorch wrote before 2017; save it again with a newer one",
         source);
  }
  fail(Error::Code::file, "{}: is neither a ZIP archive nor a pickle, as PyTorch writes; is the download complete?",
       source);
}

}  // namespace vistazo
