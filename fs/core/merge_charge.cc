#include "fs/core/merge_charge.h"

#include <algorithm>
#include <vector>

#include "cow/extent.h"

namespace prism::fs {
namespace {

using Pieces = std::vector<cow::Piece>;

bool Has(const Pieces& pieces, ChunkId chunk) {
  return std::any_of(pieces.begin(), pieces.end(),
                     [&](const cow::Piece& piece) { return piece.chunk == chunk; });
}

int64_t NewBytes(const Pieces& before, const Pieces& after) {
  int64_t bytes = 0;
  for (size_t i = 0; i < after.size(); ++i)
    if (!Has(before, after[i].chunk) && !Has({after.begin(), after.begin() + i}, after[i].chunk))
      bytes += int64_t{after[i].stored_kib} * 1024;
  return bytes;
}

int64_t OwnBytes(ChunkId own_from, cow::Key key, const std::string_view* value) {
  cow::TreeUsage usage;
  if (value != nullptr) cow::CountItem(usage, own_from, key, *value, +1);
  return static_cast<int64_t>(usage.own_chunk_bytes);
}

}  // namespace

Result<int64_t> BytesBrought(clone::Catalog& catalog, const clone::CatalogEntry& theirs,
                             const clone::CatalogEntry& branch, ChunkId own_from) {
  int64_t bytes = 0;
  Status failed;
  clone::CatalogEntry now = branch;
  now.row.root = branch.volume->Root();
  const auto compared = catalog.Diff(
      theirs, now, [&](cow::Key key, const std::string_view* a, const std::string_view* b) {
        if (key.type() != cow::ItemType::kExtent) return true;
        if (own_from != 0) {
          bytes += OwnBytes(own_from, key, b) - OwnBytes(own_from, key, a);
          return true;
        }
        const Result<Pieces> before = a != nullptr ? cow::DecodeExtent(*a) : Pieces();
        const Result<Pieces> after = b != nullptr ? cow::DecodeExtent(*b) : Pieces();
        if (!before || !after) failed = Fail(Err::kCorrupt);
        if (failed) bytes += NewBytes(*before, *after);
        return failed.has_value();
      });
  if (!compared) return Fail(compared.error());
  PRISM_TRY(failed);
  return bytes;
}

}  // namespace prism::fs
