#include "execute/fbgemm_library.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/CPUAllocator.h>
#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <mutex>

namespace recpile {
namespace {

namespace fs = std::filesystem;

// In the order in which they need each other; they resolve symbols globally.
constexpr std::array<const char*, 7> kLibraries = {
    "asmjit.so",
    "fbgemm.so",
    "fbgemm_gpu_config.so",
    "fbgemm_gpu_tbe_utils.so",
    "fbgemm_gpu_tbe_cache.so",
    "fbgemm_gpu_tbe_common.so",
    "fbgemm_gpu_tbe_inference.so",
};

constexpr const char* kOperator = "fbgemm::int_nbit_split_embedding_codegen_lookup_function";

// site-packages/torch/lib/libc10.so -> site-packages/fbgemm_gpu
fs::path BesideTorch() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&c10::GetCPUAllocator), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code error;
  const fs::path library = fs::weakly_canonical(info.dli_fname, error);
  return library.parent_path().parent_path().parent_path() / "fbgemm_gpu";
}

Status Load(const fs::path& dir) {
  // A Python process may have loaded them already; the same files are then loaded once.
  for (const char* name : kLibraries) {
    const fs::path library = dir / name;
    std::error_code error;
    if (!fs::exists(library, error)) {
      return Status::NotFound("no FBGEMM library at " + library.string() +
                              "; install fbgemm-gpu-cpu beside torch, or say where it is with --fbgemm-dir");
    }
    if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      return Status::Unsupported("cannot load " + library.string() + ": " + dlerror());
    }
  }
  if (!c10::Dispatcher::singleton().findSchema({kOperator, ""})) {
    return Status::Unsupported("the FBGEMM in " + dir.string() + " does not register " + kOperator);
  }
  return {};
}

}  // namespace

Status LoadFbgemm(const std::string& dir) {
  static std::mutex mutex;
  static bool loaded = false;
  const std::lock_guard lock(mutex);
  if (loaded) return {};
  const Status status = Load(dir.empty() ? BesideTorch() : fs::path(dir));
  loaded = status.ok();
  return status;
}

}  // namespace recpile
