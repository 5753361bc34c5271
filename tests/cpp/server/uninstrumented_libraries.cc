// How ThreadSanitizer is to take gRPC, protobuf and abseil, which come from the system and are not built for it. What
// our own code reads and writes is watched as ever; how it is known that gRPC hands it on from thread to thread:
// rpc/event.h. The sanitizer's library asks for both.

// It sees neither those libraries' locks nor what they write, but for the memcpy and the like that they call: two of
// these would pass for a race.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }

// Headers of gRPC's are compiled here, and the library runs them while it takes an event out of its queue, which is
// before EventOf can say that it was handed over. Nothing of ours is below that function but the reading of a message.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "race:grpc::CompletionQueue::AsyncNextInternal\n"; }
