// `prism fsck`: recounts a whole store, and says what is wrong with it. Nothing is changed.
//
// What is checked: every node, reference, chunk and fingerprint (cow/store_check.h), every row of a
// volume with its totals, every volume's files (fs/core/volume_check.h; of a composed one, its
// parts and its own tree as one file system: fs/core/composed_check.h), the answers to requests.
// Cost: each node and chunk row once, and for each volume its whole tree.
#pragma once

#include <string>

#include "cow/check_report.h"
#include "cow/kv.h"
#include "cow/store_check.h"
#include "fs/base/failure.h"
#include "fs/base/function_ref.h"

namespace prism::fs {

// Of a store that nobody serves, as the next server would find it: the last checkpoint, and, if
// that is whole, what the journal adds, which is replayed into memory. No file is changed. kBusy: a
// server has it; kNoEntry: there is no store. Only what keeps the check from being made is a
// Failure; a table that cannot be opened is damage.
Outcome<cow::CheckReport> CheckStore(const std::string& directory, bool data);

// The same of tables that do not change meanwhile, without the journal. `live`: the tables that
// others change, if any. carried: see cow/store_check.h.
Outcome<cow::CheckReport> CheckTables(cow::Kv& tables, cow::Kv* live, const std::string& directory,
                                      bool data, const cow::CarriedChunks* carried = nullptr);

}  // namespace prism::fs
