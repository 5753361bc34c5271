#include "kserve/request_json.h"

#include <bit>
#include <optional>
#include <string>
#include <utility>

#include "kserve/tensor_bytes.h"

namespace recpile::kserve {
namespace {

using nlohmann::json;

constexpr size_t kMaxTreeDepth = 32;
constexpr size_t kMaxTreeNodes = 1 << 18;

// As deep as the tree is, which is bounded.
void TakeApart(json* value) {
  if (!value->is_structured()) return;
  for (json& child : *value) TakeApart(&child);
  value->clear();
}

// Collects one `data` array, whatever its nesting, and proves that it is a rectangle.
class DataCollector {
 public:
  // Each returns what is wrong, or nothing.
  std::optional<std::string> Open() {
    if (leaf_depth_ == counts_.size() && leaf_depth_ > 0) return "mixes numbers and arrays";
    if (counts_.size() == kMaxRank) return "is nested deeper than " + std::to_string(kMaxRank) + " arrays";
    if (!counts_.empty()) ++counts_.back();
    counts_.push_back(0);
    if (packed_.nesting.size() < counts_.size()) packed_.nesting.push_back(kUnknown);
    return std::nullopt;
  }

  std::optional<std::string> Close() {
    int64_t& expected = packed_.nesting[counts_.size() - 1];
    const int64_t found = counts_.back();
    counts_.pop_back();
    if (expected == kUnknown) expected = found;
    if (expected == found) return std::nullopt;
    return "is ragged: one inner array has " + std::to_string(expected) + " elements, another " + std::to_string(found);
  }

  std::optional<std::string> Add(PackedData::Kind kind, uint64_t bits) {
    if (leaf_depth_ == 0) leaf_depth_ = counts_.size();
    if (leaf_depth_ != counts_.size() || packed_.nesting.size() > leaf_depth_) return "mixes numbers and arrays";
    ++counts_.back();
    packed_.kinds.push_back(kind);
    packed_.bits.push_back(bits);
    return std::nullopt;
  }

  bool closed() const { return counts_.empty(); }
  size_t count() const { return packed_.bits.size(); }
  PackedData Take() { return std::move(packed_); }

 private:
  static constexpr int64_t kUnknown = -1;

  PackedData packed_;
  std::vector<int64_t> counts_;  // elements so far, per open array
  size_t leaf_depth_ = 0;        // open arrays around a number; 0 before the first
};

// nlohmann's SAX interface. Returning false ends the parse; `error_` says why.
class RequestSax {
 public:
  explicit RequestSax(RequestJson* out) : out_(out) {}
  const std::string& error() const { return error_; }

  bool null() { return collector_ ? BadDatum("null") : Leaf(json(nullptr)); }
  bool boolean(bool value) { return collector_ ? Datum(PackedData::Kind::kBool, value) : Leaf(json(value)); }
  bool number_integer(json::number_integer_t value) {
    return collector_ ? Datum(PackedData::Kind::kNegative, static_cast<uint64_t>(value)) : Leaf(json(value));
  }
  bool number_unsigned(json::number_unsigned_t value) {
    return collector_ ? Datum(PackedData::Kind::kUnsigned, value) : Leaf(json(value));
  }
  bool number_float(json::number_float_t value, const std::string&) {
    return collector_ ? Datum(PackedData::Kind::kFloat, std::bit_cast<uint64_t>(value)) : Leaf(json(value));
  }
  bool string(std::string& value) { return collector_ ? BadDatum("a string") : Leaf(json(std::move(value))); }
  bool binary(json::binary_t&) { return Fail("binary values do not exist in JSON"); }

  bool start_object(size_t) { return collector_ ? BadDatum("an object") : Open(json::object()); }
  bool end_object() { return Close(); }
  bool start_array(size_t) {
    if (collector_) return Check(collector_->Open());
    if (!AtInputData()) return Open(json::array());
    collector_.emplace();
    return Leaf(json(nullptr)) && Check(collector_->Open());
  }
  bool end_array() {
    if (!collector_) return Close();
    if (!Check(collector_->Close())) return false;
    if (!collector_->closed()) return true;
    out_->data.emplace(InputIndex(), collector_->Take());
    collector_.reset();
    return true;
  }

  bool key(std::string& name) {
    key_ = std::move(name);
    if (!open_.back()->contains(key_)) return true;
    return Fail("key \"" + Excerpt(key_) + "\" appears twice in one object");
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
    std::string_view what = error.what();
    if (const size_t tag = what.find("] "); tag != what.npos) what.remove_prefix(tag + 2);  // "[json.exception.…] "
    return Fail("the request is not valid JSON: " + Excerpt(what, 256));
  }

 private:
  bool Fail(std::string message) {
    error_ = std::move(message);
    return false;
  }

  // open_ is [root, root["inputs"], one input] and the key just read is its "data".
  bool AtInputData() const {
    if (open_.size() != 3 || key_ != "data" || !open_[2]->is_object() || !open_[0]->is_object()) return false;
    const auto inputs = open_[0]->find("inputs");
    return inputs != open_[0]->end() && &*inputs == open_[1] && open_[1]->is_array();
  }
  size_t InputIndex() const { return open_[1]->size() - 1; }

  std::string InputLabel() const {
    const auto name = open_[2]->find("name");
    if (name == open_[2]->end() || !name->is_string()) return "inputs[" + std::to_string(InputIndex()) + "]";
    return "input '" + Excerpt(name->get_ref<const std::string&>()) + "'";
  }
  bool Check(std::optional<std::string> problem) { return !problem || Fail(InputLabel() + ": data " + *problem); }
  bool Datum(PackedData::Kind kind, uint64_t bits) { return Check(collector_->Add(kind, bits)); }
  bool BadDatum(const std::string& what) {
    return Fail(InputLabel() + ": data[" + std::to_string(collector_->count()) + "] is " + what +
                "; JSON data takes numbers and booleans (send NaN and infinity in binary form)");
  }

  // Places a value in the innermost open object or array and returns where it lies. The pointer stays good while the
  // value is open, because its siblings come only after it is closed.
  json* Place(json value) {
    if (open_.empty()) return &(out_->tree = std::move(value));
    json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }
  bool Leaf(json value) {
    if (++nodes_ > kMaxTreeNodes) {
      return Fail("the request has more than " + std::to_string(kMaxTreeNodes) + " JSON values outside of data");
    }
    Place(std::move(value));
    return true;
  }
  bool Open(json value) {
    if (open_.size() == kMaxTreeDepth) {
      return Fail("the request's JSON is nested deeper than " + std::to_string(kMaxTreeDepth) + " levels");
    }
    if (++nodes_ > kMaxTreeNodes) return Leaf(json());
    open_.push_back(Place(std::move(value)));
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  RequestJson* out_;
  std::vector<json*> open_;
  std::string key_;
  size_t nodes_ = 0;
  std::optional<DataCollector> collector_;  // while inside an input's `data`
  std::string error_;
};

}  // namespace

RequestJson::~RequestJson() { TakeApart(&tree); }

Result<RequestJson> ParseRequestJson(std::string_view text) {
  RequestJson parsed;
  RequestSax sax(&parsed);
  if (!json::sax_parse(text.begin(), text.end(), &sax)) return Status::InvalidArgument(sax.error());
  return parsed;
}

std::string Excerpt(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  return std::string(text.substr(0, limit)) + "...";
}

}  // namespace recpile::kserve
