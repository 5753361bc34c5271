// recpile.runtime_cpp._engine: the C++ Engine in Python. numpy arrays in, numpy arrays out; no torch type crosses.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <thread>

#include "arrays.h"
#include "live_engines.h"
#include "options.h"
#include "recpile/engine.h"
#include "stats.h"

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
