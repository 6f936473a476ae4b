// Comparing two volumes that may be in use: both are held still, by hidden clones of one instant.
#include "fs/core/composed_map.h"
#include "fs/core/hidden_volumes.h"
#include "fs/core/host_impl.h"
#include "fs/core/volume_diff.h"

namespace prism::fs {
namespace {

// What an item is in a volume whose own tree has `own` of it.
Result<const std::string_view*> ItemOf(const GraftedTree::Graft& graft, cow::Key key,
                                       const std::string_view* own, std::string& value,
                                       std::string_view& shown) {
  if (own != nullptr) return own->empty() ? nullptr : own;
  PRISM_ASSIGN(const bool found, GraftedTree::GetInPart(graft, key, value));
  shown = value;
  return found ? &shown : nullptr;
}

// Of an item that the own trees have differently. False: it is no use to go on.
Result<bool> NoteGrafted(VolumeDiff& diff, const GraftedTree::Graft& graft, cow::Key key,
                         const std::string_view* x, const std::string_view* y) {
  std::string value;
  std::string_view shown;
  PRISM_ASSIGN(const std::string_view* a, ItemOf(graft, key, x, value, shown));
  PRISM_ASSIGN(const std::string_view* b, ItemOf(graft, key, y, value, shown));
  if (a == b || (a != nullptr && b != nullptr && *a == *b)) return true;
  return diff.Note(key, a, b);
}

}  // namespace

Outcome<DiffResult> HostImpl::Diff(std::string_view a, std::string_view b,
                                   const DiffOptions& options) {
  std::vector<clone::CatalogEntry> pinned;
  {
    PRISM_ASSIGN(clone::CatalogEntry first, catalog_->Find(a));
    PRISM_ASSIGN(clone::CatalogEntry second, catalog_->Find(b));
    PRISM_ASSIGN(const DataGate gate, GateOf(first.row.id));
    DataGate other;
    if (second.row.id != first.row.id) {
      PRISM_ASSIGN(other, GateOf(second.row.id));
    }
    PRISM_ASSIGN(pinned, catalog_->Pin({std::string(a), std::string(b)}));
  }
  const HiddenVolumes pins(*catalog_, std::move(pinned));
  if (pins[0].row.composition.grafts != pins[1].row.composition.grafts)
    return Explain(Err::kNotSupported,
                   "\"{}\" and \"{}\" are not composed of the same parts: only clones and "
                   "snapshots of one composed volume can be compared",
                   a, b);
  const std::shared_ptr<cow::VolumeMap> maps[] = {MapOf(pins[0].volume), MapOf(pins[1].volume)};
  auto files_of = [&](size_t i) {
    return VolumeCore::Open(maps[i], catalog_->engine().chunks(), budget_,
                            {.volume = pins[i].row.id})
        ->Attach();
  };
  const std::shared_ptr<FileSystem> files[] = {files_of(0), files_of(1)};
  VolumeDiff diff({*maps[0], *files[0]}, {*maps[1], *files[1]}, options);
  const auto* composed = dynamic_cast<const ComposedMap*>(maps[0].get());
  Status failed;
  Result<uint64_t> visited = catalog_->Diff(
      pins[0], pins[1], [&](cow::Key key, const std::string_view* x, const std::string_view* y) {
        const auto* graft = composed == nullptr ? nullptr : composed->tree().Find(key);
        if (graft == nullptr) return diff.Note(key, x, y);
        const Result<bool> noted = NoteGrafted(diff, *graft, key, x, y);
        if (!noted) failed = Fail(noted.error());
        return noted && *noted;
      });
  if (visited && !failed) visited = Fail(failed.error());
  if (!visited) return Failed(visited.error(), "comparing");
  Result<DiffResult> result = diff.Finish();
  if (!result && result.error() == Err::kTooBig)
    return Explain(Err::kTooBig, "more than {} items differ between \"{}\" and \"{}\"",
                   kDiffItemsMax, a, b);
  if (!result) return Failed(result.error(), "comparing");
  result->nodes_visited = *visited;
  return std::move(*result);
}

}  // namespace prism::fs
