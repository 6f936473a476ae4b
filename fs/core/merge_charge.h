// What a merge brings into a volume that an exclusive quota must count (clone/records.h).
#pragma once

#include "clone/catalog.h"

namespace prism::fs {

// `branch` was a clone of `theirs` and has been merged into; neither changes meanwhile. Stored
// bytes, each chunk once in each block, as cow::CountItem counts.
//
// own_from 0: of all chunks that the branch's blocks have and those of `theirs` have not: what the
// branch keeps of the other side, however old. Otherwise by how much more of the chunks from that
// one on it has than `theirs`, which may be less. Cost: what differs.
Result<int64_t> BytesBrought(clone::Catalog& catalog, const clone::CatalogEntry& theirs,
                             const clone::CatalogEntry& branch, ChunkId own_from);

}  // namespace prism::fs
