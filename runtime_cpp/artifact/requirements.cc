#include "artifact/requirements.h"

#include <sys/utsname.h>

#include <fstream>
#include <sstream>

// RECPILE_TORCH_VERSION and RECPILE_FBGEMM_VERSION ("2.13", "1.8") come from the build: this file never sees torch.

namespace recpile {

Machine ThisMachine() {
  Machine machine{RECPILE_TORCH_VERSION, RECPILE_FBGEMM_VERSION, "unknown", {}};
  if (utsname name{}; uname(&name) == 0) machine.arch = name.machine;
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("flags") && !line.starts_with("Features")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) machine.cpu_features.insert(word);
    break;
  }
  return machine;
}

Status CheckRequirements(const Requirements& needs, const Machine& machine) {
  const auto library = [](const char* name, const std::string& wanted, const std::string& here) {
    return Status::Unsupported(std::string("the artifact needs ") + name + " " + wanted + "; this runtime has " + here +
                               ": export it again with this version, or install that one");
  };
  if (needs.torch != machine.torch) return library("torch", needs.torch, machine.torch);
  if (needs.fbgemm != machine.fbgemm) return library("fbgemm", needs.fbgemm, machine.fbgemm);
  if (needs.arch != machine.arch) {
    return Status::Unsupported("the artifact was compiled for " + needs.arch + "; this machine is " + machine.arch +
                               ": export it there");
  }
  std::string lacking;
  for (const std::string& feature : needs.cpu_features) {
    if (!machine.cpu_features.contains(feature)) lacking += (lacking.empty() ? "" : ", ") + feature;
  }
  if (lacking.empty()) return {};
  return Status::Unsupported("the artifact's code uses CPU features that this machine lacks: " + lacking +
                             "; export it here");
}

}  // namespace recpile
