#include "artifact/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_map>

namespace recpile {
namespace {

using Json = nlohmann::json;

// Thrown inside this file only; ParseManifest turns it into a Status.
struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void Require(bool condition, const std::string& message) {
  if (!condition) throw Malformed(message);
}

constexpr int64_t kMaxSize = int64_t{1} << 48;
constexpr int64_t kMaxRowElements = int64_t{1} << 28;

int64_t Size(const Json& value, const std::string& what) {
  Require(value.is_number_integer(), what + " must be a whole number");
  const auto size = value.get<int64_t>();
  Require(size >= 0 && size <= kMaxSize, what + " is " + std::to_string(size) + ", out of range");
  return size;
}

DType ReadDType(const Json& value, const std::string& what) {
  const auto name = value.get<std::string>();
  const auto dtype = DTypeFromName(name);
  Require(dtype.has_value(), what + " has unknown dtype '" + name + "'");
  return *dtype;
}

TensorSpec ReadSpec(const Json& json, const std::string& name) {
  TensorSpec spec{name, ReadDType(json.at("dtype"), name), {}};
  // An axis by name varies from request to request.
  for (const Json& size : json.at("shape")) spec.shape.push_back(size.is_string() ? -1 : Size(size, name + ".shape"));
  return spec;
}

// Elements of one row: all axes but the first. 0 if one of them is empty or varies, or if there are far too many.
int64_t RowElements(const Shape& shape) {
  int64_t elements = 1;
  for (size_t i = 1; i < shape.size(); ++i) {
    if (shape[i] <= 0 || elements > kMaxRowElements / shape[i]) return 0;
    elements *= shape[i];
  }
  return elements;
}

// Names of values, each given once.
class Values {
 public:
  ValueId Add(const std::string& name) {
    const auto id = static_cast<ValueId>(ids_.size());
    Require(ids_.emplace(name, id).second, "value '" + name + "' is given twice");
    return id;
  }
  ValueId Find(const std::string& name, const std::string& reader) const {
    const auto found = ids_.find(name);
    Require(found != ids_.end(), reader + " reads value '" + name + "', which nothing before it gives");
    return found->second;
  }
  int32_t count() const { return static_cast<int32_t>(ids_.size()); }

 private:
  std::unordered_map<std::string, ValueId> ids_;
};

void ReadInput(const Json& json, Values& values, std::vector<InputTensor>& inputs) {
  const auto name = json.at("name").get<std::string>();
  const auto kind = json.at("kind").get<std::string>();
  const Json& tensors = json.at("tensors");
  const bool dense = kind == "dense";
  const bool keyed = kind == "keyed_jagged";
  Require(dense || keyed || kind == "jagged", "input '" + name + "' has unknown kind '" + kind + "'");
  const size_t count = tensors.size();
  Require(dense ? count == 1 : count == 2 || count == 3, "input '" + name + "' has a wrong number of tensors");

  std::vector<std::string> keys;
  if (keyed) keys = json.at("keys").get<std::vector<std::string>>();
  Require(!keyed || !keys.empty(), "input '" + name + "' has no keys");
  constexpr InputRole kRoles[] = {InputRole::kValues, InputRole::kLengths, InputRole::kWeights};
  const auto first = static_cast<ValueId>(inputs.size());
  for (size_t i = 0; i < count; ++i) {
    InputTensor tensor;
    const auto full_name = tensors[i].at("name").get<std::string>();
    tensor.spec = ReadSpec(tensors[i], full_name);
    tensor.role = dense ? InputRole::kDense : kRoles[i];
    tensor.keys = keyed ? static_cast<int64_t>(keys.size()) : 1;
    tensor.key_names = keys;
    if (!dense) tensor.partner = tensor.role == InputRole::kLengths ? first : first + 1;
    const Shape& shape = tensor.spec.shape;
    const DType dtype = tensor.spec.dtype;
    switch (tensor.role) {
      case InputRole::kDense:
        Require(!shape.empty() && shape[0] == -1, "input '" + full_name + "' must have candidates on its first axis");
        // Coalescing adds up rows: a second axis that varies could not be told apart from the first.
        Require(RowElements(shape) > 0, "input '" + full_name + "' must have rows of a fixed size");
        break;
      case InputRole::kLengths:
        Require(shape == (keyed ? Shape{tensor.keys, -1} : Shape{-1}), "input '" + full_name + "' has a wrong shape");
        [[fallthrough]];
      case InputRole::kValues:
        Require(dtype == DType::kInt64 || dtype == DType::kInt32, "input '" + full_name + "' must be int64 or int32");
        break;
      case InputRole::kWeights:
        Require(dtype == DType::kFp32, "input '" + full_name + "' must be fp32");
        break;
    }
    if (tensor.role == InputRole::kValues || tensor.role == InputRole::kWeights) {
      Require(shape == Shape{-1}, "input '" + full_name + "' has a wrong shape");
    }
    Require(values.Add(full_name) == static_cast<ValueId>(inputs.size()), "inputs come first");
    inputs.push_back(std::move(tensor));
  }
}

Table ReadTable(const Json& json) {
  Table table;
  table.name = json.at("name").get<std::string>();
  const std::string what = "table '" + table.name + "'";
  table.rows = Size(json.at("rows"), what + ".rows");
  table.dim = Size(json.at("dim"), what + ".dim");
  table.row_bytes = Size(json.at("row_bytes"), what + ".row_bytes");
  table.dtype = json.at("dtype").get<std::string>();
  table.file = json.at("file").get<std::string>();
  int64_t expected = 0;
  if (table.dtype == "fp32") {
    expected = 4 * table.dim;
  } else if (table.dtype == "fp16") {
    expected = 2 * table.dim;
  } else if (table.dtype == "int8") {
    expected = 4 + table.dim;
  } else {
    throw Malformed(what + " has unknown dtype '" + table.dtype + "'");
  }
  Require(table.rows > 0 && table.dim > 0, what + " is empty");
  Require(table.row_bytes == expected,
          what + " has rows of " + std::to_string(table.row_bytes) + " bytes; expected " + std::to_string(expected));
  Require(table.rows <= kMaxSize / table.row_bytes, what + " is too large");
  return table;
}

void ReadLookup(const Json& json, const Values& values, const std::vector<Table>& tables, StageSpec& stage) {
  const std::string what = "stage '" + stage.name + "'";
  const auto pooling = json.at("pooling").get<std::string>();
  Require(pooling == "sum" || pooling == "mean", what + " has unknown pooling '" + pooling + "'");
  stage.mean_pooling = pooling == "mean";
  for (const Json& source : json.at("sources")) {
    LookupSource read;
    read.values = values.Find(source.at("values").get<std::string>(), what);
    read.lengths = values.Find(source.at("lengths").get<std::string>(), what);
    if (source.contains("weights")) read.weights = values.Find(source.at("weights").get<std::string>(), what);
    Require(stage.sources.empty() || (stage.sources[0].weights < 0) == (read.weights < 0),
            what + " mixes weighted and unweighted sources");
    stage.sources.push_back(read);
  }
  for (const Json& feature : json.at("features")) {
    LookupFeature read;
    const int64_t source = Size(feature.at("source"), what + ".source");
    Require(source < static_cast<int64_t>(stage.sources.size()), what + " names a source that it does not have");
    read.source = static_cast<int32_t>(source);
    read.row = Size(feature.at("row"), what + ".row");
    const auto name = feature.at("table").get<std::string>();
    const auto table = std::find_if(tables.begin(), tables.end(), [&](const Table& t) { return t.name == name; });
    Require(table != tables.end(), what + " looks up unknown table '" + name + "'");
    read.table = static_cast<int32_t>(table - tables.begin());
    Require(stage.features.empty() || stage.features.back().table <= read.table, what + " must go table by table");
    stage.features.push_back(read);
  }
  Require(!stage.features.empty() && stage.outputs.size() == 1, what + " must have features and one output");
}

StageSpec ReadStage(const Json& json, Values& values, const std::vector<Table>& tables) {
  StageSpec stage;
  stage.name = json.at("name").get<std::string>();
  const auto kind = json.at("kind").get<std::string>();
  const std::string what = "stage '" + stage.name + "'";
  if (kind != "embedding" && kind != "compiled") {
    throw Malformed(what + " has kind '" + kind + "', which this runtime does not know");
  }
  stage.kind = kind == "embedding" ? StageKind::kEmbedding : StageKind::kCompiled;
  for (const Json& input : json.at("inputs")) stage.inputs.push_back(values.Find(input.get<std::string>(), what));
  for (const Json& output : json.at("outputs")) {
    stage.outputs.push_back(values.Add(output.at("name").get<std::string>()));
  }
  if (stage.kind == StageKind::kEmbedding) ReadLookup(json, values, tables, stage);
  return stage;
}

// Where a lookup reads inputs, they must be the parts of one jagged input, and have the row that is read.
void CheckLookups(const Manifest& manifest) {
  const auto role_is = [&](ValueId id, InputRole role) {
    return id >= static_cast<ValueId>(manifest.inputs.size()) || manifest.inputs[static_cast<size_t>(id)].role == role;
  };
  for (const StageSpec& stage : manifest.stages) {
    const std::string what = "stage '" + stage.name + "'";
    for (const LookupSource& source : stage.sources) {
      const bool roles = role_is(source.values, InputRole::kValues) && role_is(source.lengths, InputRole::kLengths) &&
                         (source.weights < 0 || role_is(source.weights, InputRole::kWeights));
      Require(roles, what + " reads an input as what it is not");
      const auto inputs = static_cast<ValueId>(manifest.inputs.size());
      const bool both = source.values < inputs && source.lengths < inputs;
      Require(!both || manifest.inputs[static_cast<size_t>(source.values)].partner == source.lengths,
              what + " joins the values and the lengths of different inputs");
    }
    int64_t dims = 0;
    for (const LookupFeature& feature : stage.features) dims += manifest.tables[static_cast<size_t>(feature.table)].dim;
    Require(dims <= kMaxRowElements, what + " gives rows that are too long");
    for (const LookupFeature& feature : stage.features) {
      const ValueId lengths = stage.sources[feature.source].lengths;
      const bool known = lengths < static_cast<ValueId>(manifest.inputs.size());
      Require(!known || feature.row < manifest.inputs[lengths].keys,
              "stage '" + stage.name + "' reads a key that is not there");
    }
  }
}

Manifest Read(const Json& json) {
  Manifest manifest;
  manifest.name = json.at("model").at("name").get<std::string>();
  manifest.version = json.at("model").at("version").get<std::string>();
  const Json& needs = json.at("requires");
  manifest.requires_ = {needs.at("torch").get<std::string>(), needs.at("fbgemm").get<std::string>(),
                        needs.at("arch").get<std::string>(), needs.at("cpu_features").get<std::vector<std::string>>()};
  Values values;
  for (const Json& input : json.at("inputs")) ReadInput(input, values, manifest.inputs);
  Require(!manifest.inputs.empty(), "there are no inputs");
  for (const Json& table : json.at("tables")) manifest.tables.push_back(ReadTable(table));
  for (const Json& stage : json.at("stages")) manifest.stages.push_back(ReadStage(stage, values, manifest.tables));
  for (const Json& output : json.at("outputs")) {
    const auto name = output.at("name").get<std::string>();
    OutputSpec spec{ReadSpec(output, name),
                    values.Find(output.at("value").get<std::string>(), "output '" + name + "'")};
    Require(!spec.spec.shape.empty() && spec.spec.shape[0] == -1, "output '" + name + "' has no candidates axis");
    manifest.outputs.push_back(std::move(spec));
  }
  Require(!manifest.outputs.empty(), "there are no outputs");
  for (const auto& [name, file] : json.at("files").items()) {
    manifest.files[name] = {static_cast<uint64_t>(Size(file.at("bytes"), name)), file.at("xxh3").get<std::string>()};
  }
  for (const Table& table : manifest.tables) {
    const auto file = manifest.files.find(table.file);
    Require(file != manifest.files.end(), "table '" + table.name + "' has no file");
    Require(file->second.bytes == static_cast<uint64_t>(table.rows * table.row_bytes),
            "table '" + table.name + "' has a file of another size");
  }
  manifest.values = values.count();
  CheckLookups(manifest);
  return manifest;
}

}  // namespace

Result<Manifest> ParseManifest(std::string_view text) {
  try {
    const Json json = Json::parse(text);
    if (!json.is_object()) throw Malformed("it is not an object");
    const std::string format = json.value("format", "");
    // Looked at as a scalar only: anything else may be nested without end.
    const auto found = json.find("format_version");
    const bool scalar = found != json.end() && found->is_primitive();
    if (format != "recpile" || !scalar || *found != kFormatVersion) {
      return Status::Unsupported("the artifact has format '" + format + "' version " +
                                 (scalar ? found->dump() : "(none)") + "; this runtime reads 'recpile' version " +
                                 std::to_string(kFormatVersion) + ": export it again");
    }
    return Read(json);
  } catch (const std::exception& error) {  // Malformed, or nlohmann's own with the field that it missed
    return Status::InvalidArgument(std::string("the manifest is malformed: ") + error.what());
  }
}

}  // namespace recpile
