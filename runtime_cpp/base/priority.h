// Work that must not disturb what is being served.
#pragma once

namespace recpile {

// Lets threads of usual priority run before the calling one: `nice` as setpriority(2) takes it, 1 to 19. 0 changes
// nothing. What the thread starts inherits it, and without privileges there is no way back: for threads that end when
// their work is done, and that start none which serve. Where the system refuses, nothing changes.
void LowerThreadPriority(int nice);

}  // namespace recpile
