// A configuration file in YAML for CLI11: one key a flag, by its long name.
//
//   model-repository: /srv/models
//   http-port: 8080
//   load-model: [ranker, retrieval]
#pragma once

#include <CLI/CLI.hpp>
#include <istream>
#include <string>
#include <vector>

namespace recpile {

class YamlConfig : public CLI::Config {
 public:
  // Throws CLI::ConfigError: not YAML, no flat mapping, or a key twice.
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;
  // CLI11 prints a configuration with this; the server never does.
  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return ""; }
};

}  // namespace recpile
