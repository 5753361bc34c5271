// The server's log: lines of text, or JSON objects.
#pragma once

#include <functional>

#include "options.h"
#include "serving/context.h"

namespace recpile {

// Everything that is logged goes to stderr, from here on as `options` say. Before any thread is started.
void SetUpLog(const CommandLine& options);

// What writes down each infer request; empty if `options` do not ask for it.
std::function<void(const serving::RequestRecord&)> RequestLog(const CommandLine& options);

}  // namespace recpile
