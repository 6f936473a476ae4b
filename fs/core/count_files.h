// Counts a volume from its root, where its totals are not known.
#pragma once

#include <atomic>
#include <optional>

#include "cow/volume_map.h"

namespace prism::fs {

// What VolumeMap::Usage should say: all that is reachable, and what is unlinked and not yet freed.
// nullopt: `stop` was set. Reads everything; the view must not be one that others wait for.
Result<std::optional<cow::VolumeUsage>> CountFiles(const cow::ReadView& view,
                                                   const std::atomic<bool>& stop);

// What of it goes when a directory is cut off: that, what is below it, and the files there that
// have no names elsewhere.
Result<cow::VolumeUsage> CountBelow(const cow::ReadView& view, InodeId dir);

}  // namespace prism::fs
