// The directory of a store: what is in it, whose format it is, and who has it open.
//
//   PRISM      one line, "prism store format N"; also the lock file
//   db/        RocksDB: nodes, reference counts, chunk rows, fingerprints, volumes
//   journal/   the journal's files
//   segments/  the chunks' bytes
#pragma once

#include <cstdint>
#include <string>

#include "fs/base/failure.h"

namespace prism::cow {

inline constexpr uint32_t kStoreFormat = 3;

// Creates the directory if absent, and takes its lock. Returns the descriptor that holds the lock.
// kInvalid: not empty and no store. kNotSupported: another format. kBusy: another server has it.
Outcome<int> LockStoreDirectory(const std::string& directory);

}  // namespace prism::cow
