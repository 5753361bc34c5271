// The kinds of options that the command line has, as --help shows them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace recpile {

// One option with a default that --help shows.
template <typename T>
CLI::Option* Number(CLI::App& app, const char* group, const char* name, T& value, int64_t low, int64_t high,
                    const char* text) {
  return app.add_option(name, value, text)
      ->check(CLI::Range(low, high))
      ->option_text("N [" + std::to_string(value) + "]")
      ->group(group);
}

template <typename T>
CLI::Option* Text(CLI::App& app, const char* group, const char* name, T& value, const char* shown, const char* text) {
  return app.add_option(name, value, text)->option_text(shown)->group(group);
}

// Several values, with commas between them or with the flag given again. What follows behind a space is no value: it
// may be the artifact.
template <typename T>
CLI::Option* List(CLI::App& app, const char* group, const char* name, std::vector<T>& values, const char* shown,
                  const char* text) {
  return app.add_option(name, values, text)->delimiter(',')->allow_extra_args(false)->option_text(shown)->group(group);
}

inline CLI::Option* Choice(CLI::App& app, const char* group, const char* name, std::string& value,
                           std::vector<std::string> choices, const char* text) {
  std::string shown;
  for (const std::string& choice : choices) shown += (shown.empty() ? "" : "|") + choice;
  return app.add_option(name, value, text)
      ->check(CLI::IsMember(std::move(choices)))
      ->option_text(shown + " [" + value + "]")
      ->group(group);
}

inline CLI::Option* Port(CLI::App& app, const char* name, std::string& value, const char* text) {
  const auto check = [](const std::string& given) -> std::string {
    int port = 0;
    if (given == "off" || (CLI::detail::lexical_cast(given, port) && port >= 0 && port <= 65535)) return "";
    return "got " + given + "; use 0 to 65535 (0: any free port), or off";
  };
  return app.add_option(name, value, text)
      ->check(CLI::Validator(check, "PORT"))
      ->option_text("PORT|off [" + value + "]")
      ->group("Network");
}

}  // namespace recpile
