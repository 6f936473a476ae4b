// The parts of a VolumeCore, for the operations of this folder.
#pragma once

#include <memory>

#include "fs/core/clients.h"
#include "fs/core/dir_cookie.h"
#include "fs/core/file_data.h"
#include "fs/core/holds.h"
#include "fs/core/lock_table.h"
#include "fs/core/orphans.h"
#include "fs/core/request_log.h"
#include "fs/core/volume_core.h"

namespace prism::fs {

struct VolumeCore::Impl {
  Impl(std::shared_ptr<cow::VolumeMap> volume_map, cow::ChunkStore& chunk_store,
       DirtyBudget& budget, const CoreOptions& core_options)
      : map(std::move(volume_map)),
        store(chunk_store),
        options(core_options),
        key(*map),
        data(options.volume, *map, store, budget, holds, options.flusher),
        orphans(*map, data, holds, options.leftovers_from),
        locks(options.lock_memory != nullptr ? *options.lock_memory : no_lock_memory,
              options.volume) {}

  const std::shared_ptr<cow::VolumeMap> map;
  cow::ChunkStore& store;
  const CoreOptions options;
  const HashKeys key;
  Holds holds;
  FileData data;
  Orphans orphans;
  Clients clients;
  RequestLog requests;
  LockMemory no_lock_memory;  // where the options give none
  LockTable locks;
};

}  // namespace prism::fs
