// A small model that has every kind of input, as a manifest.
#pragma once

#include <string_view>

namespace recpile::testing {

// dense [B, 2]; sparse with keys color and size, weighted; history: one feature, int32. As manifest.py writes it, but
// for what the runtime does not read.
inline constexpr std::string_view kToyManifest = R"({
 "format": "recpile",
 "format_version": 2,
 "producer": {"recpile": "0.1"},
 "requires": {"torch": "2.13", "fbgemm": "1.8", "arch": "x86_64", "cpu_features": ["avx2", "fma"]},
 "model": {"name": "toy", "version": "7"},
 "inputs": [
  {"name": "dense", "kind": "dense", "tensors": [{"name": "dense", "dtype": "fp32", "shape": ["candidate", 2]}]},
  {"name": "sparse", "kind": "keyed_jagged", "keys": ["color", "size"], "tensors": [
   {"name": "sparse.values", "dtype": "int64", "shape": ["sparse.nnz"]},
   {"name": "sparse.lengths", "dtype": "int64", "shape": [2, "candidate"]},
   {"name": "sparse.weights", "dtype": "fp32", "shape": ["sparse.nnz"]}]},
  {"name": "history", "kind": "jagged", "tensors": [
   {"name": "history.values", "dtype": "int32", "shape": ["history.nnz"]},
   {"name": "history.lengths", "dtype": "int32", "shape": ["candidate"]}]}
 ],
 "outputs": [{"name": "score", "value": "dense/score", "dtype": "fp32", "shape": ["candidate"]}],
 "tables": [
  {"name": "colors", "rows": 10, "dim": 4, "dtype": "fp32", "row_bytes": 16, "file": "data/recpile/tables/0"},
  {"name": "sizes", "rows": 20, "dim": 2, "dtype": "fp16", "row_bytes": 4, "file": "data/recpile/tables/1"},
  {"name": "items", "rows": 100, "dim": 8, "dtype": "int8", "row_bytes": 12, "file": "data/recpile/tables/2"}
 ],
 "stages": [
  {"name": "bags", "kind": "embedding", "inputs": ["sparse.values", "sparse.lengths", "sparse.weights"],
   "outputs": [{"name": "bags/pooled", "dtype": "fp32", "shape": ["candidate", 6]}], "pooling": "sum",
   "sources": [{"values": "sparse.values", "lengths": "sparse.lengths", "weights": "sparse.weights"}],
   "features": [{"source": 0, "row": 0, "table": "colors"}, {"source": 0, "row": 1, "table": "sizes"}]},
  {"name": "recent", "kind": "embedding", "inputs": ["history.values", "history.lengths"],
   "outputs": [{"name": "recent/pooled", "dtype": "fp32", "shape": ["candidate", 8]}], "pooling": "mean",
   "sources": [{"values": "history.values", "lengths": "history.lengths"}],
   "features": [{"source": 0, "row": 0, "table": "items"}]},
  {"name": "dense", "kind": "compiled", "inputs": ["dense", "bags/pooled", "recent/pooled"],
   "outputs": [{"name": "dense/score", "dtype": "fp32", "shape": ["candidate"]}], "precision": "fp32"}
 ],
 "files": {
  "data/recpile/tables/0": {"bytes": 160, "xxh3": "00000000000000000000000000000000"},
  "data/recpile/tables/1": {"bytes": 80, "xxh3": "11111111111111111111111111111111"},
  "data/recpile/tables/2": {"bytes": 1200, "xxh3": "22222222222222222222222222222222"}
 }
})";

}  // namespace recpile::testing
