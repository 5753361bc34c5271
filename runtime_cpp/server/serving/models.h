// The models that are being served, by name and version.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "recpile/status.h"
#include "serving/served_model.h"

namespace recpile::serving {

// Whether version `a` is older than `b`: numbers by value, then other names by the alphabet.
struct OlderVersion {
  bool operator()(const std::string& a, const std::string& b) const;
};

// Thread-safe.
class Models {
 public:
  // The version asked for; without one, the newest. kNotFound says what there is instead.
  Result<ModelPtr> Find(const std::string& name, const std::string& version) const;

  // Of one model, or with an empty name of all of them; ordered by name and version.
  std::vector<ModelPtr> List(const std::string& name = {}) const;

  // From now on `name` is served in exactly these versions: they appear, and others disappear, at one moment. None:
  // the model is gone. The requests of versions that disappear wait for company no longer: none will come.
  void Publish(const std::string& name, const std::vector<ModelPtr>& versions);

  // From now on no request of any model waits for company, also of those that are published later: the server stops.
  void HoldNothingBack();

 private:
  using Versions = std::map<std::string, ModelPtr, OlderVersion>;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::map<std::string, Versions> models_;  // no entry without a version
  bool hold_back_ = true;
};

}  // namespace recpile::serving
