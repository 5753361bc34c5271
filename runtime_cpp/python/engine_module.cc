// recpile.runtime_cpp._engine: the C++ Engine in Python. numpy arrays in, numpy arrays out; no torch type crosses.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "arrays.h"
#include "live_engines.h"
#include "recpile/engine.h"

namespace recpile {
namespace {

[[noreturn]] void Throw(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      throw py::value_error(status.message());
    case StatusCode::kNotFound:
      PyErr_SetString(PyExc_FileNotFoundError, status.message().c_str());
      throw py::error_already_set();
    default:
      throw std::runtime_error(status.message());
  }
}

py::dict Infer(Engine& engine, const py::dict& inputs, uint64_t priority, int64_t timeout_microseconds,
               bool partial_ok) {
  InferRequest request = ToRequest(inputs);
  request.priority = priority;
  request.timeout_microseconds = timeout_microseconds;
  request.partial_ok = partial_ok;
  InferResult result = [&] {
    const py::gil_scoped_release release;
    return engine.Infer(std::move(request));
  }();
  if (!result.ok()) Throw(result.status());
  return ToDict(result.value());
}

// On an instance's thread, while a future's callbacks run: an engine cannot be stopped or deleted from there.
thread_local bool in_callback = false;

void Resolve(const py::object& future, const InferResult& result) {
  if (!future.attr("set_running_or_notify_cancel")().cast<bool>()) return;  // cancelled: nobody waits
  if (!result.ok()) {
    const char* type = result.status().code() == StatusCode::kInvalidArgument ? "ValueError" : "RuntimeError";
    future.attr("set_exception")(py::module_::import("builtins").attr(type)(result.status().message()));
    return;
  }
  py::dict outputs;
  try {
    outputs = ToDict(result.value());
  } catch (py::error_already_set& error) {
    future.attr("set_exception")(error.value());
    return;
  }
  future.attr("set_result")(outputs);
}

// A concurrent.futures.Future, so that one Python thread can have many requests under way.
py::object Submit(Engine& engine, const py::dict& inputs, uint64_t priority, int64_t timeout_microseconds,
                  bool partial_ok) {
  InferRequest request = ToRequest(inputs);
  request.priority = priority;
  request.timeout_microseconds = timeout_microseconds;
  request.partial_ok = partial_ok;
  py::object future = py::module_::import("concurrent.futures").attr("Future")();
  auto* shared = new py::object(future);
  const auto done = [shared](const InferResult& result) {
    const py::gil_scoped_acquire gil;
    in_callback = true;
    {
      const std::unique_ptr<py::object> kept(shared);
      try {
        Resolve(*kept, result);
      } catch (py::error_already_set& error) {
        error.discard_as_unraisable("recpile.Engine.submit");
      }
    }
    in_callback = false;
  };
  const Status status = [&] {
    const py::gil_scoped_release release;
    return engine.Submit(std::move(request), done);
  }();
  if (!status.ok()) {
    delete shared;
    Throw(status);
  }
  return future;
}

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

// Every option by its name in EngineOptions; what is not given stays as it is there.
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

std::unique_ptr<Engine> Load(const std::string& path, const EngineOptions& options) {
  Result<std::unique_ptr<Engine>> engine = [&] {
    const py::gil_scoped_release release;
    return Engine::Load(path, options);
  }();
  if (!engine.ok()) Throw(engine.status());
  return std::move(engine).value();
}

void Stop(Engine& engine) {
  if (in_callback) throw std::runtime_error("stop() was called from a future's callback; call it from another thread");
  // The instances may need the GIL for a last callback.
  const py::gil_scoped_release release;
  engine.Stop();
}

py::dict ToDict(const Histogram& histogram) {
  py::dict answer;
  answer["counts"] = histogram.counts;
  answer["sum"] = histogram.sum;
  return answer;
}

py::dict Stats(const Engine& engine) {
  const EngineStats stats = engine.stats();
  py::dict answer;
  answer["requests_ok"] = stats.requests_ok;
  answer["requests_partial"] = stats.requests_partial;
  answer["requests_canceled"] = stats.requests_canceled;
  answer["requests_failed"] = stats.requests_failed;
  answer["requests_rejected"] = stats.requests_rejected;
  answer["requests_shed"] = stats.requests_shed;
  answer["requests_expired"] = stats.requests_expired;
  answer["samples"] = stats.samples;
  answer["batches"] = stats.batches;
  answer["queued"] = stats.queued;
  answer["queue_ns"] = stats.queue_ns;
  answer["compute_ns"] = stats.compute_ns;
  answer["padded_rows"] = stats.padded_rows;
  answer["queue_us"] = ToDict(stats.queue_us);
  answer["coalesce_us"] = ToDict(stats.coalesce_us);
  answer["infer_us"] = ToDict(stats.infer_us);
  answer["split_us"] = ToDict(stats.split_us);
  answer["batch_size"] = ToDict(stats.batch_size);
  py::dict stages;
  for (const StageStats& stage : stats.stages) stages[py::str(stage.name)] = ToDict(stage.duration_us);
  answer["stages"] = stages;
  py::dict tables;
  for (const TableStats& table : stats.tables) {
    py::dict one;
    one["lookups"] = table.lookups;
    one["out_of_range"] = table.out_of_range;
    tables[py::str(table.name)] = one;
  }
  answer["tables"] = tables;
  return answer;
}

// The destructor joins threads that may wait for the GIL, and may be reached from one of them.
struct Unloader {
  void operator()(Engine* engine) const {
    if (in_callback) {
      std::thread([engine] { delete engine; }).detach();
    } else if (PyGILState_Check()) {
      const py::gil_scoped_release release;
      delete engine;
    } else {
      delete engine;
    }
  }
};

}  // namespace
}  // namespace recpile

PYBIND11_MODULE(_engine, module) {
  using namespace recpile;
  module.doc() = "The recpile C++ engine.";
  // Never destroyed: engines may be let go of until the very end.
  static auto* live = new LiveEngines;
  py::module_::import("atexit").attr("register")(py::cpp_function([] {
    const py::gil_scoped_release release;
    live->StopAll();
  }));
  py::class_<Engine, std::shared_ptr<Engine>>(module, "Engine",
                                              "One loaded artifact, its worker threads and its queue.")
      .def(py::init([](const std::string& path, const py::kwargs& options) {
             std::shared_ptr<Engine> engine(Load(path, ToOptions(options)).release(), Unloader());
             live->Add(engine);
             return engine;
           }),
           py::arg("path"))
      .def("infer", &Infer, py::arg("inputs"), py::kw_only(), py::arg("priority") = 0,
           py::arg("timeout_microseconds") = 0, py::arg("partial_ok") = false,
           "Answers one request: name -> array in, name -> array out. Blocks.")
      .def("submit", &Submit, py::arg("inputs"), py::kw_only(), py::arg("priority") = 0,
           py::arg("timeout_microseconds") = 0, py::arg("partial_ok") = false,
           "Queues one request; returns a concurrent.futures.Future.")
      .def("stats", &Stats, "Counters since load.")
      .def("stop", &Stop, "Refuses new requests, answers every accepted one.")
      .def_property_readonly("name", [](const Engine& engine) { return engine.model().name; })
      .def_property_readonly("version", [](const Engine& engine) { return engine.model().version; })
      .def_property_readonly("table_memory", [](const Engine& engine) { return engine.table_memory(); })
      .def_property_readonly("instances", [](const Engine& engine) { return engine.options().instances; });
}
