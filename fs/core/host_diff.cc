// Comparing two volumes that may be in use: both are held still, by hidden clones of one instant.
#include "fs/core/host_impl.h"
#include "fs/core/volume_diff.h"

namespace prism::fs {
namespace {

// The pins of one comparison; gives them up.
class Pins {
 public:
  Pins(clone::Catalog& catalog, std::vector<clone::CatalogEntry> entries)
      : catalog_(catalog), entries_(std::move(entries)) {}
  ~Pins() { catalog_.Unpin(entries_); }
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;
  const clone::CatalogEntry& operator[](size_t index) const { return entries_[index]; }

 private:
  clone::Catalog& catalog_;
  const std::vector<clone::CatalogEntry> entries_;
};

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
  const Pins pins(*catalog_, std::move(pinned));
  auto files_of = [&](const clone::CatalogEntry& pin) {
    return VolumeCore::Open(MapOf(pin.volume), catalog_->engine().chunks(), budget_,
                            {.volume = pin.row.id})
        ->Attach();
  };
  const std::shared_ptr<FileSystem> files[] = {files_of(pins[0]), files_of(pins[1])};
  VolumeDiff diff({*pins[0].volume, *files[0]}, {*pins[1].volume, *files[1]}, options);
  Result<uint64_t> visited = catalog_->Diff(
      pins[0], pins[1], [&](cow::Key key, const std::string_view* x, const std::string_view* y) {
        return diff.Note(key, x, y);
      });
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
