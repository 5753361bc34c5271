#include "options.h"

#include <pybind11/stl.h>

#include <string>
#include <type_traits>

namespace recpile {
namespace {

TimeoutAction ToTimeoutAction(const std::string& name) {
  if (name == "reject") return TimeoutAction::kReject;
  if (name == "delay") return TimeoutAction::kDelay;
  throw py::value_error("timeout_action: got '" + name + "'; use 'reject' or 'delay'");
}

PadBatches ToPadBatches(const std::string& name) {
  if (name == "auto") return PadBatches::kAuto;
  if (name == "always") return PadBatches::kAlways;
  if (name == "never") return PadBatches::kNever;
  throw py::value_error("pad_batches: got '" + name + "'; use 'auto', 'always' or 'never'");
}

OutOfRange ToOutOfRange(const std::string& name) {
  if (name == "error") return OutOfRange::kError;
  if (name == "zero") return OutOfRange::kZero;
  throw py::value_error("out_of_range: got '" + name + "'; use 'error' or 'zero'");
}

TableMemory ToTableMemory(const std::string& name) {
  if (name == "mmap") return TableMemory::kMmap;
  if (name == "hugepages") return TableMemory::kHugePages;
  if (name == "auto") return TableMemory::kAuto;
  throw py::value_error("table_memory: got '" + name + "'; use 'mmap', 'hugepages' or 'auto'");
}

}  // namespace

EngineOptions ToOptions(const py::kwargs& given) {
  EngineOptions options;
  for (const auto& [key, value] : given) {
    const auto name = py::cast<std::string>(key);
    const auto is = [&](const char* option, auto& into) {
      if (name != option) return false;
      into = py::cast<std::remove_reference_t<decltype(into)>>(value);
      return true;
    };
    if (name == "timeout_action") {
      options.timeout_action = ToTimeoutAction(py::cast<std::string>(value));
      continue;
    }
    if (name == "pad_batches") {
      options.pad_batches = ToPadBatches(py::cast<std::string>(value));
      continue;
    }
    if (name == "out_of_range") {
      options.out_of_range = ToOutOfRange(py::cast<std::string>(value));
      continue;
    }
    if (name == "table_memory") {
      options.table_memory = ToTableMemory(py::cast<std::string>(value));
      continue;
    }
    const bool known = is("instances", options.instances) || is("max_batch_size", options.max_batch_size) ||
                       is("preferred_batch_sizes", options.preferred_batch_sizes) ||
                       is("max_queue_delay_microseconds", options.max_queue_delay_microseconds) ||
                       is("max_queue_size", options.max_queue_size) || is("priority_levels", options.priority_levels) ||
                       is("default_priority_level", options.default_priority_level) ||
                       is("default_timeout_microseconds", options.default_timeout_microseconds) ||
                       is("pin", options.pin) || is("verify_checksums", options.verify_checksums);
    if (!known) throw py::type_error("Engine has no option '" + name + "'");
  }
  return options;
}

}  // namespace recpile
