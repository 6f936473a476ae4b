#include "fs/base/freed_memory.h"

#include <malloc.h>

namespace prism {

void KeepFreedMemory() {
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
  mallopt(M_TOP_PAD, 1 << 20);
}

}  // namespace prism
