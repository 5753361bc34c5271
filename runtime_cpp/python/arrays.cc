#include "arrays.h"

#include <pybind11/numpy.h>

#include <memory>
#include <optional>
#include <string>

namespace recpile {
namespace {

// numpy's own names; it has no bf16, so that one is refused.
std::optional<DType> FromNumpy(const py::dtype& dtype) {
  const auto name = dtype.attr("name").cast<std::string>();
  if (name == "float32") return DType::kFp32;
  if (name == "float64") return DType::kFp64;
  if (name == "float16") return DType::kFp16;
  return DTypeFromName(name);
}

py::dtype ToNumpy(DType dtype) {
  switch (dtype) {
    case DType::kFp16:
      return py::dtype("float16");
    case DType::kFp32:
      return py::dtype("float32");
    case DType::kFp64:
      return py::dtype("float64");
    case DType::kBf16:
      return py::dtype("uint16");  // the bits
    default:
      return py::dtype(std::string(DTypeName(dtype)));
  }
}

}  // namespace

InferRequest ToRequest(const py::dict& inputs) {
  const py::object numpy_array = py::module_::import("numpy").attr("array");
  InferRequest request;
  for (const auto& [name, value] : inputs) {
    Tensor tensor;
    tensor.name = py::cast<std::string>(name);
    py::array array = numpy_array(value, py::arg("order") = "C");
    if (!array.dtype().attr("isnative").cast<bool>()) {
      array = array.attr("astype")(array.dtype().attr("newbyteorder")("="));
    }
    const auto dtype = FromNumpy(array.dtype());
    if (!dtype) {
      throw py::type_error("input '" + tensor.name + "' has numpy type " + py::str(array.dtype()).cast<std::string>() +
                           ", which no input of a model can have");
    }
    tensor.dtype = *dtype;
    tensor.shape.assign(array.shape(), array.shape() + array.ndim());
    tensor.data = {static_cast<const std::byte*>(array.data()), static_cast<size_t>(array.nbytes())};
    // The engine lets go of inputs on threads of its own, where the array may only be released under the GIL.
    tensor.owner = std::shared_ptr<const void>(array.data(), [kept = new py::array(array)](const void*) {
      const py::gil_scoped_acquire gil;
      delete kept;
    });
    request.inputs.push_back(std::move(tensor));
  }
  return request;
}

py::dict ToDict(const std::vector<Tensor>& outputs) {
  py::dict answer;
  for (const Tensor& tensor : outputs) {
    // A view: `keep` holds the batch's memory until the last array over it is gone.
    auto* keep = new std::shared_ptr<const void>(tensor.owner);
    py::capsule owner(keep, [](void* kept) { delete static_cast<std::shared_ptr<const void>*>(kept); });
    answer[py::str(tensor.name)] = py::array(ToNumpy(tensor.dtype), tensor.shape, tensor.data.data(), owner);
  }
  return answer;
}

}  // namespace recpile
