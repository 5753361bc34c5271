#include "artifact/lookup_json.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

namespace recpile {
namespace {

Pooling ReadPooling(const Json& json, const std::string& what) {
  const auto name = json.at("pooling").get<std::string>();
  if (name == "sum") return Pooling::kSum;
  if (name == "mean") return Pooling::kMean;
  Require(name == "none", what + " has unknown pooling '" + name + "'");
  return Pooling::kNone;
}

LookupSource ReadSource(const Json& json, const ValueNames& values, const std::string& what) {
  LookupSource source;
  source.values = values.Find(json.at("values").get<std::string>(), what);
  const bool jagged = json.contains("lengths");
  Require(jagged != json.contains("columns"), what + " has a source that needs either \"lengths\" or \"columns\"");
  if (jagged) {
    source.lengths = values.Find(json.at("lengths").get<std::string>(), what);
  } else {
    source.columns = Size(json.at("columns"), what + ".columns");
    Require(source.columns > 0 && source.columns <= kMaxRowElements,
            what + ".columns is " + std::to_string(source.columns) + ", out of range");
  }
  if (json.contains("weights")) source.weights = values.Find(json.at("weights").get<std::string>(), what);
  return source;
}

LookupFeature ReadFeature(const Json& json, const StageSpec& stage, const std::vector<Table>& tables,
                          const std::string& what) {
  LookupFeature feature;
  const int64_t at = Size(json.at("source"), what + ".source");
  Require(at < static_cast<int64_t>(stage.sources.size()), what + " names a source that it does not have");
  feature.source = static_cast<int32_t>(at);
  feature.row = Size(json.at("row"), what + ".row");
  const LookupSource& source = stage.sources[static_cast<size_t>(at)];
  if (source.fixed()) {
    feature.size = Size(json.at("size"), what + ".size");
    Require(feature.size > 0 && feature.row + feature.size <= source.columns,
            what + " reads columns " + std::to_string(feature.row) + " to " +
                std::to_string(feature.row + feature.size - 1) + " of a source that has " +
                std::to_string(source.columns));
  } else {
    Require(!json.contains("size"), what + " gives a size for bags whose source has lengths");
  }
  const auto name = json.at("table").get<std::string>();
  const auto table = std::find_if(tables.begin(), tables.end(), [&](const Table& t) { return t.name == name; });
  Require(table != tables.end(), what + " looks up unknown table '" + name + "'");
  feature.table = static_cast<int32_t>(table - tables.begin());
  return feature;
}

// One row an id, in the order of the source: each id belongs to one bag of one table, and all rows are equally long.
void CheckUnpooled(const StageSpec& stage, const std::vector<Table>& tables, const std::string& what) {
  Require(stage.sources.size() == 1 && !stage.sources[0].fixed(),
          what + " has pooling 'none', which needs exactly one source, with lengths");
  Require(stage.sources[0].weights < 0, what + " has pooling 'none', which takes no weights");
  std::set<int64_t> rows;
  const int64_t dim = tables[static_cast<size_t>(stage.features[0].table)].dim;
  for (const LookupFeature& feature : stage.features) {
    Require(rows.insert(feature.row).second,
            what + " has pooling 'none' and looks up row " + std::to_string(feature.row) + " twice");
    Require(tables[static_cast<size_t>(feature.table)].dim == dim,
            what + " has pooling 'none' and tables of different dims");
  }
}

// What is known of a source before any request: inputs have an axis and a shape, what a stage gives is seen when it
// runs.
class KnownInputs {
 public:
  KnownInputs(const Manifest& manifest, std::string what) : inputs_(manifest.inputs), what_(std::move(what)) {}

  // The input behind a value, or null if a stage gives it.
  const InputTensor* Of(ValueId id) const {
    return id >= 0 && static_cast<size_t>(id) < inputs_.size() ? &inputs_[static_cast<size_t>(id)] : nullptr;
  }

  // How many bags a source has: so many for every row of an axis, or of an input's ids. Nothing if a stage decides.
  using BagCount = std::pair<std::string, int64_t>;

  std::optional<BagCount> CheckJagged(const LookupSource& source) const {
    const InputTensor* values = Of(source.values);
    const InputTensor* lengths = Of(source.lengths);
    const InputTensor* weights = Of(source.weights);
    const auto is = [](const InputTensor* input, InputRole role) { return input == nullptr || input->role == role; };
    Require(is(values, InputRole::kValues) && is(lengths, InputRole::kLengths) && is(weights, InputRole::kWeights),
            what_ + " reads an input as what it is not");
    Require(values == nullptr || lengths == nullptr || values->partner == source.lengths,
            what_ + " joins the values and the lengths of different inputs");
    Require(weights == nullptr || values == nullptr || weights->partner == values->partner,
            what_ + " joins the values and the weights of different inputs");
    if (lengths == nullptr) return std::nullopt;
    return BagCount(AxisName(*lengths), 1);
  }

  std::optional<BagCount> CheckFixed(const LookupSource& source) const {
    const InputTensor* values = Of(source.values);
    const InputTensor* weights = Of(source.weights);
    Require(weights == nullptr || weights->spec.dtype == DType::kFp32,
            what_ + " has weights '" + (weights ? weights->spec.name : "") + "', which must be fp32");
    if (values == nullptr) return std::nullopt;
    const TensorSpec& spec = values->spec;
    Require(spec.dtype == DType::kInt64 || spec.dtype == DType::kInt32,
            what_ + " has ids '" + spec.name + "', which must be int64 or int32");
    if (weights != nullptr) {
      const bool alike = weights->axis == values->axis && weights->spec.shape == spec.shape &&
                         (values->role == InputRole::kDense) == (weights->role == InputRole::kDense) &&
                         (values->role == InputRole::kDense || weights->partner == values->partner);
      Require(alike, what_ + " has weights '" + weights->spec.name + "' of another shape than ids '" + spec.name + "'");
    }
    // Rows must not be cut across: coalescing puts those of another request behind them.
    const int64_t row = values->role == InputRole::kDense ? RowElements(spec.shape) : 1;
    Require(row % source.columns == 0, what_ + " cuts '" + spec.name + "', whose rows have " + std::to_string(row) +
                                           " ids, into bags of " + std::to_string(source.columns));
    if (values->role == InputRole::kDense) return BagCount(AxisName(*values), row / source.columns);
    if (values->role == InputRole::kLengths) return BagCount(AxisName(*values), values->keys);
    return BagCount(Of(values->partner)->spec.name, 1);
  }

 private:
  static std::string AxisName(const InputTensor& input) {
    return input.axis == Axis::kRequest ? "request" : "candidate";
  }

  const std::vector<InputTensor>& inputs_;
  const std::string what_;
};

}  // namespace

void ReadLookup(const Json& json, const ValueNames& values, const std::vector<Table>& tables, StageSpec& stage) {
  const std::string what = "stage '" + stage.name + "'";
  stage.pooling = ReadPooling(json, what);
  for (const Json& one : json.at("sources")) {
    const LookupSource source = ReadSource(one, values, what);
    Require(stage.sources.empty() || (stage.sources[0].weights < 0) == (source.weights < 0),
            what + " mixes weighted and unweighted sources");
    stage.sources.push_back(source);
  }
  for (const Json& one : json.at("features")) {
    const LookupFeature feature = ReadFeature(one, stage, tables, what);
    Require(stage.features.empty() || stage.features.back().table <= feature.table, what + " must go table by table");
    stage.features.push_back(feature);
  }
  Require(!stage.features.empty() && stage.outputs.size() == 1, what + " must have features and one output");
  if (stage.pooling == Pooling::kNone) CheckUnpooled(stage, tables, what);
}

void CheckLookup(const Manifest& manifest, const StageSpec& stage) {
  const std::string what = "stage '" + stage.name + "'";
  const KnownInputs known(manifest, what);
  std::optional<KnownInputs::BagCount> bags;
  for (const LookupSource& source : stage.sources) {
    const auto here = source.fixed() ? known.CheckFixed(source) : known.CheckJagged(source);
    Require(!bags || !here || *bags == *here, what + " has sources with different numbers of bags");
    if (here) bags = here;
  }
  int64_t dims = 0;
  for (const LookupFeature& feature : stage.features) {
    dims += manifest.tables[static_cast<size_t>(feature.table)].dim;
    const InputTensor* lengths = known.Of(stage.sources[static_cast<size_t>(feature.source)].lengths);
    Require(lengths == nullptr || feature.row < lengths->keys, what + " reads a key that is not there");
  }
  Require(dims <= kMaxRowElements, what + " gives rows that are too long");
}

}  // namespace recpile
