// The command line of recpile-server.
#pragma once

#include <chrono>
#include <string>
#include <variant>

#include "http/server.h"
#include "recpile/engine.h"

namespace recpile {

struct CommandLine {
  std::string artifact;
  std::string model_name;  // empty: the manifest's
  EngineOptions engine;
  http::ServerOptions http;
  std::chrono::seconds grace{30};
  std::string log_level = "info";
  bool exit_with_parent = false;
};

// The options, or the process's exit code: 0 after --help or --version, 2 after a mistake. What there is to say has
// then been printed.
std::variant<CommandLine, int> ParseCommandLine(int argc, char** argv);

}  // namespace recpile
