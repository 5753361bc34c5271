// Where the rows of an artifact's tables lie: in the mapped file, or in huge pages.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "artifact/artifact.h"
#include "recpile/engine.h"

namespace recpile {

// What decides.
struct MemoryState {
  uint64_t available = 0;       // bytes
  bool huge_pages = false;      // whether the kernel gives them to who asks
  bool mapped_in_huge = false;  // whether it maps the file in huge pages without being asked
};
MemoryState MemoryFor(const Artifact& artifact, TableMemory wanted);

struct TableMemoryChoice {
  bool huge_pages = false;
  std::string reason;  // "huge pages: ..." or "mmap: ...", with the numbers
};

// A pure function. Unsupported: huge pages are demanded, and there are none.
Result<TableMemoryChoice> ChooseTableMemory(TableMemory wanted, uint64_t table_bytes, const MemoryState& memory);

// Immutable. A table lies at the same offset whether its bytes are mapped or copied.
class PlacedTables {
 public:
  // Copies the tables if so chosen. Unavailable: that is demanded, and there is no memory for it.
  static Result<std::shared_ptr<const PlacedTables>> Place(std::shared_ptr<const Artifact> artifact, TableMemory wanted,
                                                           const MemoryState& memory);
  ~PlacedTables() { Drop(); }
  PlacedTables(const PlacedTables&) = delete;
  PlacedTables& operator=(const PlacedTables&) = delete;

  // Page-aligned; what is no table's is undefined. Each table's rows begin at its Artifact::table_offset.
  std::span<const std::byte> bytes() const { return copied_.empty() ? artifact_->bytes() : copied_; }
  const TableMemoryChoice& choice() const { return choice_; }

 private:
  explicit PlacedTables(std::shared_ptr<const Artifact> artifact);
  Status Copy();
  void Drop();

  const std::shared_ptr<const Artifact> artifact_;
  uint64_t table_bytes_ = 0;
  TableMemoryChoice choice_;
  std::span<std::byte> mapping_;  // with room to align
  std::span<std::byte> copied_;
};

}  // namespace recpile
