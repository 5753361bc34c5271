// The configuration file on text from anywhere: flags and values, or an error of the kind that the command line shows.
#include <cstddef>
#include <cstdint>
#include <set>
#include <sstream>
#include <string>

#include "yaml_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::istringstream text(std::string(reinterpret_cast<const char*>(data), size));
  try {
    std::set<std::string> names;
    for (const CLI::ConfigItem& item : recpile::YamlConfig().from_config(text)) {
      // One spelling of each, once.
      if (item.name.find('_') != std::string::npos || !names.insert(item.name).second) __builtin_trap();
    }
  } catch (const CLI::ConfigError&) {
    // Anything else that is thrown ends the fuzzer, as it would the server.
  }
  return 0;
}
