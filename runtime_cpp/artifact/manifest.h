// The manifest as the runtime uses it: names resolved to numbers, every number checked. docs/artifact.md is the
// grammar.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "recpile/status.h"
#include "recpile/tensor.h"

namespace recpile {

inline constexpr int kFormatVersion = 2;

// A value that flows through the DAG: inputs come first, then what stages give, in the order of the stages.
using ValueId = int32_t;

// The batch axes. A request brings one row on kRequest and any number on kCandidate.
enum class Axis { kCandidate, kRequest };

// The value that the runtime itself gives: int64 [candidate], the place in the batch of each row's request.
inline constexpr std::string_view kCandidateToRequest = "candidate_to_request";

enum class InputRole { kDense, kValues, kLengths, kWeights };

// One flat input tensor; its ValueId is its place in Manifest::inputs.
struct InputTensor {
  TensorSpec spec;  // of one request: -1 for candidates and for the number of ids, 1 for requests
  InputRole role = InputRole::kDense;
  Axis axis = Axis::kCandidate;  // of values and weights: that of their lengths
  // Features in this tensor, key by key: F for a keyed jagged input, else 1.
  int64_t keys = 1;
  std::vector<std::string> key_names;  // for errors; empty but for keyed jagged inputs
  // For kValues and kWeights: the tensor with the lengths; for kLengths: the one with the values.
  ValueId partner = -1;
};

struct Table {
  std::string name;
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t row_bytes = 0;
  std::string dtype;
  std::string file;  // the entry that holds its rows
};

// Jagged (has lengths), or fixed: values seen as [bags, columns].
struct LookupSource {
  ValueId values = -1;
  ValueId lengths = -1;  // -1: fixed
  int64_t columns = 0;   // of a fixed source
  ValueId weights = -1;  // -1: unweighted

  bool fixed() const { return lengths < 0; }
};

struct LookupFeature {
  int32_t source = 0;
  int64_t row = 0;   // of a jagged source's lengths; of a fixed one the first column
  int64_t size = 0;  // of a fixed source: columns in a bag
  int32_t table = 0;
};

// kNone: one row an id, in the order of the ids. The numbers are FBGEMM's PoolingMode.
enum class Pooling : int64_t { kSum = 0, kMean = 1, kNone = 2 };

enum class StageKind { kEmbedding, kCompiled };

struct StageSpec {
  std::string name;
  StageKind kind = StageKind::kCompiled;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  // Some layer of a compiled stage is smaller than fp32, so that oneDNN runs it: it makes ready for each batch size.
  bool onednn = false;
  // Embedding stages only. Features go table by table, in the order of Manifest::tables.
  Pooling pooling = Pooling::kSum;
  bool bf16 = false;  // gives bf16 in place of fp32
  std::vector<LookupSource> sources;
  std::vector<LookupFeature> features;
};

struct OutputSpec {
  TensorSpec spec;  // of one request, as InputTensor's
  Axis axis = Axis::kCandidate;
  ValueId value = -1;
};

struct FileSpec {
  uint64_t bytes = 0;
  std::string xxh3;
};

struct Requirements {
  std::string torch;
  std::string fbgemm;
  std::string arch;
  std::vector<std::string> cpu_features;
};

struct Manifest {
  std::string name;
  std::string version;
  Requirements requires_;
  std::vector<InputTensor> inputs;
  std::vector<OutputSpec> outputs;
  std::vector<Table> tables;
  std::vector<StageSpec> stages;
  int32_t values = 0;                 // how many ValueIds there are
  ValueId candidate_to_request = -1;  // -1: no stage reads it
  std::map<std::string, FileSpec, std::less<>> files;
};

// Unsupported for another format version; InvalidArgument, naming the field, for anything malformed.
Result<Manifest> ParseManifest(std::string_view json);

}  // namespace recpile
