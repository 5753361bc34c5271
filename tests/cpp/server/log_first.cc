// spdlog makes what it needs at its first use, under a lock inside its library that ThreadSanitizer does not see. As in
// the server itself, that is before there are threads.
#include <spdlog/spdlog.h>

namespace {

[[maybe_unused]] const spdlog::logger* const kFirst = spdlog::default_logger_raw();

}  // namespace
