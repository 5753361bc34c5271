// The artifact loader on bytes from anywhere: the archive's directory, and the manifest.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "artifact/manifest.h"
#include "artifact/zip_index.h"

// The first byte chooses: an archive, or a manifest's text by itself (which a checksum guards inside one).
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace recpile;
  if (size == 0) return 0;
  const std::span bytes(reinterpret_cast<const std::byte*>(data + 1), size - 1);
  if (data[0] % 2 == 0) {
    const auto index = ReadZipIndex(bytes);
    if (!index.ok()) return 0;
    for (const auto& [name, entry] : index.value()) {
      // What it says lies in the archive does.
      if (entry.offset > bytes.size() || entry.size > bytes.size() - entry.offset) __builtin_trap();
    }
    return 0;
  }
  const auto manifest = ParseManifest({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!manifest.ok()) return 0;
  for (const StageSpec& stage : manifest.value().stages) {
    for (const ValueId id : stage.inputs) {
      if (id < 0 || id >= manifest.value().values) __builtin_trap();
    }
    for (const LookupFeature& feature : stage.features) {
      if (static_cast<size_t>(feature.source) >= stage.sources.size()) __builtin_trap();
      if (static_cast<size_t>(feature.table) >= manifest.value().tables.size()) __builtin_trap();
    }
  }
  return 0;
}
