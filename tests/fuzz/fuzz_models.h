// Models whose requests are fuzzed: every kind of input, both axes, jagged and fixed lookups.
#pragma once

#include <cstdlib>
#include <utility>

#include "artifact/manifest.h"
#include "toy_manifest.h"

namespace recpile::testing {

// A user with a keyed jagged history and candidates with ids in columns.
inline constexpr std::string_view kBothAxesManifest = R"({
 "format": "recpile", "format_version": 2,
 "requires": {"torch": "", "fbgemm": "", "arch": "", "cpu_features": []}, "model": {"name": "m", "version": "1"},
 "inputs": [
  {"name": "u", "kind": "keyed_jagged", "keys": ["a", "b"], "tensors": [
   {"name": "u.values", "dtype": "int32", "shape": ["u.nnz"]},
   {"name": "u.lengths", "dtype": "int32", "shape": [2, "request"]},
   {"name": "u.weights", "dtype": "fp32", "shape": ["u.nnz"]}]},
  {"name": "c", "kind": "dense", "tensors": [{"name": "c", "dtype": "int64", "shape": ["candidate", 3]}]}],
 "outputs": [{"name": "s", "value": "d/s", "dtype": "fp32", "shape": ["candidate"]}],
 "tables": [{"name": "t", "rows": 9, "dim": 4, "dtype": "int8", "row_bytes": 8, "file": "f"}],
 "files": {"f": {"bytes": 72, "xxh3": ""}},
 "stages": [
  {"name": "e", "kind": "embedding", "inputs": ["c"], "outputs": [{"name": "e/p"}], "pooling": "sum",
   "sources": [{"values": "c", "columns": 3}],
   "features": [{"source": 0, "row": 0, "size": 2, "table": "t"}, {"source": 0, "row": 2, "size": 1, "table": "t"}]},
  {"name": "n", "kind": "embedding", "inputs": ["u.values", "u.lengths"], "outputs": [{"name": "n/r"}],
   "pooling": "none", "sources": [{"values": "u.values", "lengths": "u.lengths"}],
   "features": [{"source": 0, "row": 1, "table": "t"}]},
  {"name": "d", "kind": "compiled", "inputs": ["e/p", "n/r", "candidate_to_request"], "outputs": [{"name": "d/s"}]}]
})";

inline Manifest Parsed(std::string_view text) {
  auto manifest = ParseManifest(text);
  if (!manifest.ok()) std::abort();
  return std::move(manifest).value();
}

}  // namespace recpile::testing
