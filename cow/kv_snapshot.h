// All tables as they are at one instant, for as long as somebody reads them. The store goes on.
#pragma once

#include <memory>

#include "cow/kv.h"

namespace prism::cow {

// Of what OpenRocksKv returned, which outlives it. Nothing can be written through it (kReadOnly).
std::unique_ptr<Kv> SnapshotOf(Kv& kv);

}  // namespace prism::cow
