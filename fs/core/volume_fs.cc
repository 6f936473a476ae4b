#include "fs/core/volume_fs.h"

#include <algorithm>

#include "fs/core/permission.h"

namespace prism::fs {

VolumeFs::VolumeFs(std::shared_ptr<VolumeCore> core, const AttachOptions& options)
    : core_(std::move(core)),
      impl_(core_->impl()),
      holds_orphans_(options.holds_orphans),
      id_(impl_.clients.Attach(options.holds_orphans)) {}

VolumeFs::~VolumeFs() {
  impl_.clients.Detach(id_);
  LockTable::Grants grants;
  impl_.locks.Drop(id_, 0, {}, grants);
  TellGrants(grants);
  impl_.orphans.Detach(id_);
  // What few files were left to this client alone go at once; the background frees the rest.
  constexpr size_t kStepsAtOnce = 64;
  if (!impl_.map->destroyed()) (void)impl_.orphans.Reap(kStepsAtOnce);
}

void VolumeFs::SetListener(EventListener* listener) { impl_.clients.SetListener(id_, listener); }

Status VolumeFs::Alive() const {
  if (impl_.map->destroyed()) return Fail(Err::kStale);
  return {};
}

Status VolumeFs::Writable() const {
  PRISM_TRY(Alive());
  if (impl_.map->read_only()) return Fail(Err::kReadOnly);
  return {};
}

// Where nothing is committed at once that would tell.
Status VolumeFs::Writable(InodeId ino) const {
  PRISM_TRY(Writable());
  if (impl_.map->read_only(ino)) return Fail(Err::kReadOnly);
  return {};
}

Result<InodeRecord> VolumeFs::Load(const cow::ReadView& view, InodeId ino) const {
  PRISM_ASSIGN(InodeRecord record, impl_.data.Load(view, ino));
  if (!holds_orphans_ && record.attr.nlink == 0) return Fail(Err::kStale);
  return record;
}

Result<InodeRecord> VolumeFs::LoadDirectory(const cow::ReadView& view, InodeId ino) const {
  auto record = Load(view, ino);
  if (record && record->attr.type != FileType::kDirectory) return Fail(Err::kNotDirectory);
  return record;
}

Status VolumeFs::Commit(Transaction transaction, const CommitNote& note) {
  RequestLog::Entry done;
  if (note.request != nullptr) {
    PRISM_ASSIGN(done, impl_.requests.Note(*transaction, *note.request, note.ino));
  }
  const Result<Lsn> lsn = transaction->Commit();
  transaction.reset();
  if (!lsn) {
    if (note.orphan != 0) impl_.holds.Forget(note.orphan);
    return Fail(lsn.error());
  }
  impl_.requests.Noted(done);
  return {};
}

Status VolumeFs::RequireRegular(const InodeRecord& record) {
  if (record.attr.type == FileType::kRegular) return {};
  return Fail(record.attr.type == FileType::kDirectory ? Err::kIsDirectory : Err::kInvalid);
}

Status VolumeFs::RequireBody(const cow::ReadView& view, const Caller& caller,
                             const InodeRecord& record, uint32_t want) const {
  PRISM_TRY(RequireRegular(record));
  if (!holds_orphans_ && record.attr.nlink == 0) return Fail(Err::kStale);
  return RequireBodyAccess(view, impl_.key, caller, record, want);
}

Result<StatfsResult> VolumeFs::Statfs(const Caller&) {
  PRISM_TRY(Alive());
  const cow::VolumeUsage usage = impl_.map->Usage();
  StatfsResult result;
  result.used_bytes = usage.bytes + impl_.data.expected_used();
  result.free_bytes = impl_.store.FreeBytes();
  result.total_bytes = result.used_bytes + result.free_bytes;
  result.files = usage.inodes;
  // Inodes have no table of their own: what a small one needs is taken from the free space.
  result.free_files = result.free_bytes / 512;
  const cow::Quota& quota = usage.quota;
  if (quota.bytes != 0) {
    const uint64_t taken = usage.charged_bytes + impl_.data.reserved();
    result.free_bytes = std::min(result.free_bytes, quota.bytes - std::min(quota.bytes, taken));
    result.total_bytes = taken + result.free_bytes;  // the quota, while the store has that much
  }
  if (quota.inodes != 0)
    result.free_files =
        std::min(result.free_files, quota.inodes - std::min(quota.inodes, usage.inodes));
  return result;
}

Status VolumeFs::Release(const Caller&, InodeId ino) {
  PRISM_TRY(Alive());
  if (impl_.locks.size() > 0) {
    LockTable::Grants grants;
    impl_.locks.Drop(id_, ino, {}, grants);
    TellGrants(grants);
  }
  return impl_.orphans.Release(id_, ino);
}

Result<InodeId> VolumeFs::FindDone(const RequestId& request) {
  PRISM_TRY(Alive());
  return impl_.requests.Find(*impl_.map, request);
}

Status VolumeFs::AnswerBarrier(const Caller&, uint64_t cookie, bool written) {
  return impl_.clients.AnswerBarrier(id_, cookie, written);
}

Status VolumeFs::Fsync(const Caller&, InodeId ino, bool) {
  PRISM_TRY(Alive());
  {
    auto view = impl_.map->Read();
    PRISM_TRY(Load(*view, ino));
  }
  PRISM_TRY(impl_.data.Flush(ino));
  return impl_.map->WaitDurable(impl_.map->LastLsn());
}

Status VolumeFs::Sync(const Caller&) {
  PRISM_TRY(Alive());
  PRISM_TRY(core_->Flush());
  return impl_.map->WaitDurable(impl_.map->LastLsn());
}

}  // namespace prism::fs
