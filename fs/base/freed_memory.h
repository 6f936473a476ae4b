// How the process deals with memory it has freed.
#pragma once

namespace prism {

// For programs that hold a store open; called first in main. Blocks of file data (64 KiB) come and
// go all the time; by glibc's defaults their memory goes back to the kernel each time, and a third
// of a cold read's CPU time is page faults. At most 64 MiB stay with each of malloc's arenas.
void KeepFreedMemory();

}  // namespace prism
