#include "serving/models.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "kserve/request_json.h"

namespace recpile::serving {
namespace {

bool IsNumber(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

template <typename Map>
std::string Names(const Map& map) {
  std::string names;
  for (const auto& [name, value] : map) names.append(names.empty() ? "'" : ", '").append(name).append("'");
  return names;
}

}  // namespace

bool OlderVersion::operator()(const std::string& a, const std::string& b) const {
  // Of two numbers the longer one is greater; names come before numbers.
  const auto key = [](const std::string& version) {
    const bool number = IsNumber(version);
    return std::tuple(number, number ? version.size() : 0, std::string_view(version));
  };
  return key(a) < key(b);
}

Result<ModelPtr> Models::Find(const std::string& name, const std::string& version) const {
  const std::lock_guard lock(mutex_);
  const auto model = models_.find(name);
  if (model == models_.end()) {
    return Status::NotFound("model '" + kserve::Excerpt(name) + "' is not served here; this server has " +
                            (models_.empty() ? "none" : Names(models_)));
  }
  const Versions& versions = model->second;
  if (version.empty()) return versions.rbegin()->second;
  const auto found = versions.find(version);
  if (found != versions.end()) return found->second;
  return Status::NotFound("model '" + name + "' has no version '" + kserve::Excerpt(version) +
                          "'; this server has version " + Names(versions));
}

std::vector<ModelPtr> Models::List(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelPtr> all;
  for (const auto& [key, versions] : models_) {
    if (!name.empty() && key != name) continue;
    for (const auto& [version, model] : versions) all.push_back(model);
  }
  return all;
}

void Models::Publish(const std::string& name, const std::vector<ModelPtr>& versions) {
  Versions fresh;
  for (const ModelPtr& model : versions) fresh[model->info.version] = model;
  const bool gone = fresh.empty();
  bool hold_back;
  {
    const std::lock_guard lock(mutex_);
    models_[name].swap(fresh);
    if (gone) models_.erase(name);
    hold_back = hold_back_;
  }
  // What is replaced is in `fresh` now, and is dropped outside of the lock: it may be the last lease.
  for (const auto& [version, model] : fresh) {
    if (std::ranges::find(versions, model) == versions.end()) model->hold_nothing_back();
  }
  if (hold_back) return;
  for (const ModelPtr& model : versions) model->hold_nothing_back();
}

void Models::HoldNothingBack() {
  {
    const std::lock_guard lock(mutex_);
    hold_back_ = false;
  }
  for (const ModelPtr& model : List()) model->hold_nothing_back();
}

}  // namespace recpile::serving
