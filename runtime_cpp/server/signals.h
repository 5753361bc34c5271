// SIGTERM and SIGINT: the first asks for a graceful shutdown, the second ends the process at once.
#pragma once

namespace recpile {

// Before any thread is started. Until ShutDownGracefully is called a signal ends the process at once, with the exit
// code 128 + its number: while a model loads there is nothing to be graceful about.
void InstallShutdownSignals();

// From now on the first signal is kept for WaitForShutdownSignal.
void ShutDownGracefully();

// Blocks until the first signal; returns its number.
int WaitForShutdownSignal();

// Has the kernel send SIGTERM when the thread that started this process ends. Returns false where that is not possible.
bool ExitWithParent();

}  // namespace recpile
