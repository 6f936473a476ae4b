#include "tests/bench/nfs_jobs.h"

#include <nfsc/libnfs.h>  // first: the others use its rpc_cb

#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw.h>

#include <cstring>
#include <utility>

namespace prism::bench {
namespace {

// Modern Linux clients ask for as much.
constexpr uint32_t kListBytes = 64 << 10;

// libnfs takes pointers to char and only reads through them.
nfs_fh3 Fh(const std::string& handle) {
  return {{static_cast<u_int>(handle.size()), const_cast<char*>(handle.data())}};
}

char* Name(const std::string& name) { return const_cast<char*>(name.c_str()); }

bool Queued(int result, const char* what) {
  if (result != 0) Die(std::string("cannot queue ") + what);
  return true;
}

void MustBeOk(nfsstat3 status, const char* what) {
  if (status != NFS3_OK) Die(std::string(what) + ": " + nfsstat3_to_str(status));
}

const std::string& OneOf(const std::vector<std::string>& all, Random& random) {
  return all[random.Below(all.size())];
}

}  // namespace

bool NullJob::Send(Call& call) {
  return Queued(rpc_nfs3_null_async(call.rpc, OnReply, &call), "NULL");
}

uint64_t NullJob::Receive(Call&, void*) { return 1; }

bool GetAttrJob::Send(Call& call) {
  GETATTR3args args{Fh(OneOf(handles_, random_))};
  return Queued(rpc_nfs3_getattr_async(call.rpc, OnReply, &args, &call), "GETATTR");
}

uint64_t GetAttrJob::Receive(Call&, void* reply) {
  MustBeOk(static_cast<GETATTR3res*>(reply)->status, "GETATTR");
  return 1;
}

bool AccessJob::Send(Call& call) {
  ACCESS3args args{Fh(OneOf(handles_, random_)), ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXECUTE};
  return Queued(rpc_nfs3_access_async(call.rpc, OnReply, &args, &call), "ACCESS");
}

uint64_t AccessJob::Receive(Call&, void* reply) {
  MustBeOk(static_cast<ACCESS3res*>(reply)->status, "ACCESS");
  return 1;
}

bool LookupJob::Send(Call& call) {
  if (each_once_ && next_ == names_.size()) return false;
  const std::string& name = each_once_ ? names_[next_++] : OneOf(names_, random_);
  LOOKUP3args args{{Fh(dir_), Name(name)}};
  return Queued(rpc_nfs3_lookup_async(call.rpc, OnReply, &args, &call), "LOOKUP");
}

uint64_t LookupJob::Receive(Call&, void* reply) {
  auto* result = static_cast<LOOKUP3res*>(reply);
  MustBeOk(result->status, "LOOKUP");
  const nfs_fh3& handle = result->LOOKUP3res_u.resok.object;
  if (each_once_) handles.emplace_back(handle.data.data_val, handle.data.data_len);
  return 1;
}

bool ListJob::Send(Call& call) {
  const Place& place = places_[call.index];
  READDIRPLUS3args args{Fh(dir_), place.cookie, {}, kListBytes, kListBytes};
  std::memcpy(args.cookieverf, place.verifier, sizeof place.verifier);
  return Queued(rpc_nfs3_readdirplus_async(call.rpc, OnReply, &args, &call), "READDIRPLUS");
}

uint64_t ListJob::Receive(Call& call, void* reply) {
  auto* result = static_cast<READDIRPLUS3res*>(reply);
  MustBeOk(result->status, "READDIRPLUS");
  const READDIRPLUS3resok& ok = result->READDIRPLUS3res_u.resok;
  Place& place = places_[call.index];
  uint64_t entries = 0;
  for (const entryplus3* entry = ok.reply.entries; entry != nullptr; entry = entry->nextentry) {
    bool dots = std::strcmp(entry->name, ".") == 0 || std::strcmp(entry->name, "..") == 0;
    if (!dots && !(entry->name_attributes.attributes_follow && entry->name_handle.handle_follows))
      Die("READDIRPLUS: an entry without attributes or handle");
    place.cookie = entry->cookie;
    ++entries;
  }
  if (entries == 0 && !ok.reply.eof) Die("READDIRPLUS: no entries");
  std::memcpy(place.verifier, ok.cookieverf, sizeof place.verifier);
  if (ok.reply.eof) place = {};
  return entries;
}

bool ReadJob::Send(Call& call) {
  if (left_ == 0) return false;
  --left_;
  uint64_t chunk = in_order_ ? next_++ : random_.Below(chunks_);
  READ3args args{Fh(file_), chunk * chunk_bytes_, chunk_bytes_};
  return Queued(rpc_nfs3_read_async(call.rpc, OnReply, &args, &call), "READ");
}

uint64_t ReadJob::Receive(Call&, void* reply) {
  auto* result = static_cast<READ3res*>(reply);
  MustBeOk(result->status, "READ");
  if (result->READ3res_u.resok.data.data_len != chunk_bytes_) Die("READ: not all that was asked");
  return 1;
}

WriteJob::WriteJob(const std::vector<std::string>& files, uint64_t size_bytes, uint32_t chunk_bytes,
                   uint64_t commit_each)
    : files_(files),
      chunks_(size_bytes / chunk_bytes),
      commit_each_(commit_each),
      data_(chunk_bytes),
      stamp_(NowNs()) {
  Random(stamp_).Fill(data_.data(), data_.size());
}

bool WriteJob::Send(Call& call) {
  Place& place = places_[call.index];
  if (place.uncommitted == commit_each_) return Finish(call);
  if (once_ && place.written == chunks_) return false;
  for (size_t at = 0; at < data_.size(); at += 4096)
    std::memcpy(data_.data() + at, &++stamp_, sizeof stamp_);
  auto length = static_cast<u_int>(data_.size());
  WRITE3args args{};
  args.file = Fh(files_[static_cast<size_t>(call.index)]);
  args.offset = place.written % chunks_ * length;
  args.count = length;
  args.stable = UNSTABLE;
  args.data = {length, data_.data()};
  return Queued(rpc_nfs3_write_async(call.rpc, OnReply, &args, &call), "WRITE");
}

bool WriteJob::Finish(Call& call) {
  Place& place = places_[call.index];
  if (place.uncommitted == 0) return false;
  place.committing = true;
  COMMIT3args args{Fh(files_[static_cast<size_t>(call.index)]), 0, 0};
  return Queued(rpc_nfs3_commit_async(call.rpc, OnReply, &args, &call), "COMMIT");
}

uint64_t WriteJob::Receive(Call& call, void* reply) {
  Place& place = places_[call.index];
  if (std::exchange(place.committing, false)) {
    MustBeOk(static_cast<COMMIT3res*>(reply)->status, "COMMIT");
    place.uncommitted = 0;
    return 0;
  }
  auto* result = static_cast<WRITE3res*>(reply);
  MustBeOk(result->status, "WRITE");
  if (result->WRITE3res_u.resok.count != data_.size()) Die("WRITE: not all that was given");
  ++place.written;
  ++place.uncommitted;
  return 1;
}

bool CreateJob::Send(Call& call) {
  if (names.size() == limit_) return false;
  names.push_back(prefix_ + std::to_string(names.size()));
  CREATE3args args{};
  args.where = {Fh(dir_), Name(names.back())};
  args.how.mode = GUARDED;
  args.how.createhow3_u.g_obj_attributes.mode.set_it = 1;
  args.how.createhow3_u.g_obj_attributes.mode.set_mode3_u.mode = 0644;
  return Queued(rpc_nfs3_create_async(call.rpc, OnReply, &args, &call), "CREATE");
}

uint64_t CreateJob::Receive(Call&, void* reply) {
  MustBeOk(static_cast<CREATE3res*>(reply)->status, "CREATE");
  return 1;
}

bool RemoveJob::Send(Call& call) {
  if (next_ == names_.size()) return false;
  REMOVE3args args{{Fh(dir_), Name(names_[next_++])}};
  return Queued(rpc_nfs3_remove_async(call.rpc, OnReply, &args, &call), "REMOVE");
}

uint64_t RemoveJob::Receive(Call&, void* reply) {
  MustBeOk(static_cast<REMOVE3res*>(reply)->status, "REMOVE");
  return 1;
}

bool MakeDirJob::Send(Call& call) {
  if (sent_) return false;
  sent_ = true;
  MKDIR3args args{};
  args.where = {Fh(dir_), Name(name_)};
  args.attributes.mode.set_it = 1;
  args.attributes.mode.set_mode3_u.mode = 0755;
  return Queued(rpc_nfs3_mkdir_async(call.rpc, OnReply, &args, &call), "MKDIR");
}

uint64_t MakeDirJob::Receive(Call&, void* reply) {
  nfsstat3 status = static_cast<MKDIR3res*>(reply)->status;
  if (status != NFS3ERR_EXIST) MustBeOk(status, "MKDIR");
  return 1;
}

}  // namespace prism::bench
