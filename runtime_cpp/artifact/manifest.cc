#include "artifact/manifest.h"

#include <algorithm>

#include "artifact/lookup_json.h"
#include "artifact/manifest_json.h"

namespace recpile {
namespace {

DType ReadDType(const Json& value, const std::string& what) {
  const auto name = value.get<std::string>();
  const auto dtype = DTypeFromName(name);
  Require(dtype.has_value(), what + " has unknown dtype '" + name + "'");
  return *dtype;
}

bool IsAxis(const Json& size, std::string_view axis) { return size.is_string() && size.get<std::string>() == axis; }

TensorSpec ReadSpec(const Json& json, const std::string& name) {
  TensorSpec spec{name, ReadDType(json.at("dtype"), name), {}};
  const auto read = [&](const Json& size) -> int64_t {
    if (IsAxis(size, "request")) return 1;
    return size.is_string() ? -1 : Size(size, name + ".shape");  // any other axis varies from request to request
  };
  for (const Json& size : json.at("shape")) spec.shape.push_back(read(size));
  return spec;
}

// The batch axis at place `at` of a shape, if there is one.
std::optional<Axis> AxisAt(const Json& shape, size_t at) {
  if (at >= shape.size()) return std::nullopt;
  if (IsAxis(shape[at], "candidate")) return Axis::kCandidate;
  if (IsAxis(shape[at], "request")) return Axis::kRequest;
  return std::nullopt;
}

bool HasAxis(const Manifest& manifest, Axis axis) {
  return std::any_of(manifest.inputs.begin(), manifest.inputs.end(),
                     [&](const InputTensor& input) { return input.axis == axis; });
}

// Whether an axis by name stands at place `from` or behind it.
bool NamesAnAxis(const Json& shape, size_t from) {
  for (size_t i = from; i < shape.size(); ++i) {
    if (shape[i].is_string()) return true;
  }
  return false;
}

void ReadInput(const Json& json, ValueNames& values, std::vector<InputTensor>& inputs) {
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
    const std::optional<Axis> axis = AxisAt(tensors[i].at("shape"), tensor.role == InputRole::kLengths && keyed);
    tensor.axis = axis.value_or(Axis::kCandidate);
    switch (tensor.role) {
      case InputRole::kDense:
        Require(axis.has_value(), "input '" + full_name + "' must have candidates or requests on its first axis");
        // Coalescing adds up rows: a second axis that varies could not be told apart from the first.
        Require(!NamesAnAxis(tensors[i].at("shape"), 1) && RowElements(shape) > 0,
                "input '" + full_name + "' must have rows of a fixed size");
        break;
      case InputRole::kLengths:
        Require(axis.has_value() && shape.size() == (keyed ? 2 : 1) && (!keyed || shape[0] == tensor.keys),
                "input '" + full_name + "' has a wrong shape");
        inputs.back().axis = tensor.axis;
        [[fallthrough]];
      case InputRole::kValues:
        Require(dtype == DType::kInt64 || dtype == DType::kInt32, "input '" + full_name + "' must be int64 or int32");
        break;
      case InputRole::kWeights:
        Require(dtype == DType::kFp32, "input '" + full_name + "' must be fp32");
        break;
    }
    if (tensor.role == InputRole::kWeights) tensor.axis = inputs.back().axis;
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
  struct Format {
    std::string_view dtype;
    int64_t header_bytes, bits;
  };
  constexpr Format kFormats[] = {{"fp32", 0, 32}, {"fp16", 0, 16}, {"bf16", 0, 16},
                                 {"int8", 4, 8},  {"int4", 4, 4},  {"int2", 4, 2}};
  const auto* format = std::find_if(std::begin(kFormats), std::end(kFormats),
                                    [&](const Format& one) { return one.dtype == table.dtype; });
  Require(format != std::end(kFormats), what + " has unknown dtype '" + table.dtype + "'");
  Require(table.rows > 0 && table.dim > 0, what + " is empty");
  // The kernel has no notion of a last byte that is half full: it would read the next row's header.
  Require(table.dim * format->bits % 8 == 0, what + " has a dim of " + std::to_string(table.dim) + "; rows of " +
                                                 table.dtype + " need a multiple of " +
                                                 std::to_string(8 / format->bits));
  const int64_t expected = format->header_bytes + table.dim * format->bits / 8;
  Require(table.row_bytes == expected,
          what + " has rows of " + std::to_string(table.row_bytes) + " bytes; expected " + std::to_string(expected));
  Require(table.rows <= kMaxSize / table.row_bytes, what + " is too large");
  return table;
}

StageSpec ReadStage(const Json& json, ValueNames& values, const std::vector<Table>& tables) {
  StageSpec stage;
  stage.name = json.at("name").get<std::string>();
  const auto kind = json.at("kind").get<std::string>();
  const std::string what = "stage '" + stage.name + "'";
  if (kind != "embedding" && kind != "compiled") {
    throw Malformed(what + " has kind '" + kind + "', which this runtime does not know");
  }
  stage.kind = kind == "embedding" ? StageKind::kEmbedding : StageKind::kCompiled;
  for (const Json& input : json.at("inputs")) {
    const auto name = input.get<std::string>();
    const bool own = name == kCandidateToRequest && stage.kind == StageKind::kCompiled;
    stage.inputs.push_back(own ? values.AddOrFindCandidateToRequest() : values.Find(name, what));
  }
  for (const Json& output : json.at("outputs")) {
    stage.outputs.push_back(values.Add(output.at("name").get<std::string>()));
  }
  const auto placement = json.find("placement");
  const std::string device = placement == json.end() ? "cpu" : placement->at("device").get<std::string>();
  if (device != "cpu") {
    throw Malformed(what + " is placed on device '" + device + "', which this runtime does not have; it has 'cpu'");
  }
  stage.onednn = stage.kind == StageKind::kCompiled && json.value("precision", "fp32") != "fp32";
  if (stage.kind == StageKind::kEmbedding) {
    const std::string dtype = json.at("outputs").at(0).value("dtype", "fp32");
    Require(dtype == "fp32" || dtype == "bf16", what + " gives " + dtype + "; a lookup gives fp32 or bf16");
    stage.bf16 = dtype == "bf16";
    ReadLookup(json, values, tables, stage);
  }
  return stage;
}

Manifest Read(const Json& json) {
  Manifest manifest;
  manifest.name = json.at("model").at("name").get<std::string>();
  manifest.version = json.at("model").at("version").get<std::string>();
  const Json& needs = json.at("requires");
  manifest.requires_ = {needs.at("torch").get<std::string>(), needs.at("fbgemm").get<std::string>(),
                        needs.at("arch").get<std::string>(), needs.at("cpu_features").get<std::vector<std::string>>()};
  ValueNames values;
  for (const Json& input : json.at("inputs")) ReadInput(input, values, manifest.inputs);
  Require(!manifest.inputs.empty(), "there are no inputs");
  Require(HasAxis(manifest, Axis::kCandidate), "no input has candidates");
  for (const Json& table : json.at("tables")) manifest.tables.push_back(ReadTable(table));
  for (const Json& stage : json.at("stages")) manifest.stages.push_back(ReadStage(stage, values, manifest.tables));
  const bool has_requests = HasAxis(manifest, Axis::kRequest);
  for (const Json& output : json.at("outputs")) {
    const auto name = output.at("name").get<std::string>();
    const std::string what = "output '" + name + "'";
    const std::optional<Axis> axis = AxisAt(output.at("shape"), 0);
    Require(axis.has_value(), what + " must have candidates or requests on its first axis");
    Require(*axis == Axis::kCandidate || has_requests, what + " has a row for each request, but no input has");
    manifest.outputs.push_back(
        {ReadSpec(output, name), *axis, values.Find(output.at("value").get<std::string>(), what)});
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
  manifest.candidate_to_request = values.candidate_to_request().value_or(-1);
  Require(manifest.candidate_to_request < 0 || has_requests,
          "a stage reads '" + std::string(kCandidateToRequest) + "', but no input has requests");
  for (const StageSpec& stage : manifest.stages) {
    if (stage.kind == StageKind::kEmbedding) CheckLookup(manifest, stage);
  }
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
