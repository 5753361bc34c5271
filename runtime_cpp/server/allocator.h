// How the process's allocator treats what requests and batches use for a moment.
#pragma once

namespace recpile {

// Keeps freed memory for the next request, rather than hand it back to the kernel, which would have to clear and map it
// anew: blocks of up to a few MiB are never mapped one by one, and what a thread has freed stays with it up to a bound.
// Before any other thread is started. Does nothing with another allocator than glibc's (or one that is preloaded).
void KeepFreedMemory();

}  // namespace recpile
