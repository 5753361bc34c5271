#include "yaml_config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

namespace recpile {
namespace {

std::string Where(const YAML::Node& node) { return " (line " + std::to_string(node.Mark().line + 1) + ")"; }

std::string Scalar(const std::string& key, const YAML::Node& value) {
  if (value.IsScalar()) return value.Scalar();
  throw CLI::ConfigError("'" + key + "' must be a value or a list of values" + Where(value));
}

}  // namespace

std::vector<CLI::ConfigItem> YamlConfig::from_config(std::istream& input) const {
  YAML::Node root;
  try {
    root = YAML::Load(input);
  } catch (const YAML::Exception& error) {
    throw CLI::ConfigError("the configuration is not valid YAML: " + std::string(error.what()));
  }
  if (root.IsNull()) return {};
  if (!root.IsMap())
    throw CLI::ConfigError("the configuration must be a mapping of flags to values, as http-port: 8000");
  std::vector<CLI::ConfigItem> items;
  std::set<std::string> seen;
  for (const auto& entry : root) {
    CLI::ConfigItem item;
    item.name = Scalar("a key", entry.first);
    // Either spelling, as in http-port and http_port.
    std::ranges::replace(item.name, '_', '-');
    if (!seen.insert(item.name).second)
      throw CLI::ConfigError("'" + item.name + "' is given twice" + Where(entry.first));
    if (entry.second.IsSequence()) {
      for (const YAML::Node& value : entry.second) item.inputs.push_back(Scalar(item.name, value));
    } else {
      item.inputs.push_back(Scalar(item.name, entry.second));
    }
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace recpile
