// What volumes may grow to.
#include <shared_mutex>

#include "clone/catalog.h"

namespace prism::clone {

Outcome<CatalogEntry> Catalog::SetQuota(std::string_view name, const cow::QuotaChange& change,
                                        const Request& request) {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::shared_ptr<Volume> volume;
  CatalogEntry entry;
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(Done done, FindDoneLocked(request, lock));
    if (done) return std::move(done->front());
    PRISM_ASSIGN(volume, RequireLocked(name));
    if (volume->is_snapshot())
      return Explain(Err::kInvalid, "\"{}\" is a snapshot: it does not grow", name);
    {
      std::unique_lock volume_lock(volume->mutex_);
      std::shared_lock gate(engine_->gate());
      VolumeRow answer = volume->row_;
      answer.quota = change.Of(answer.quota);
      lsn = Append(request, QuotaRecord{volume->id(), answer.quota}.Encode(), {answer});
      ApplyQuota(*volume, answer.quota);
    }
    entry = EntryOf(volume);
  }
  PRISM_TRY(WaitDurable(lsn, "the quota"));
  return entry;
}

void Catalog::ApplyQuota(Volume& volume, const cow::Quota& quota) {
  volume.row_.quota = quota;
  MarkChanged(volume);
}

}  // namespace prism::clone
