#include "server/nfs3/mount_program.h"

#include <algorithm>

namespace prism::nfs3 {
namespace {

enum Mountproc3 : uint32_t {
  MOUNTPROC3_MNT = 1,
  MOUNTPROC3_DUMP = 2,
  MOUNTPROC3_UMNT = 3,
  MOUNTPROC3_UMNTALL = 4,
  MOUNTPROC3_EXPORT = 5,
};
constexpr uint32_t MNT3_OK = 0;
constexpr size_t kMntPathMax = 1024;  // MNTPATHLEN
constexpr uint32_t kAuthSys = 1;
constexpr size_t kExportBytesMax = 512u << 10;  // of an EXPORT reply

// The next name of a path; empty at its end.
std::string_view NextName(std::string_view& path) {
  path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
  const size_t end = std::min(path.find('/'), path.size());
  const std::string_view name = path.substr(0, end);
  path.remove_prefix(end);
  return name;
}

}  // namespace

MountProgram::MountProgram(const Services& services)
    : services_(services),
      procedures_{{{"NULL"}, {"MNT"}, {"DUMP"}, {"UMNT"}, {"UMNTALL"}, {"EXPORT"}}} {}

void MountProgram::Run(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) {
  switch (procedure) {
    case MOUNTPROC3_MNT:
      return Mnt(call, reply);
    case MOUNTPROC3_DUMP:
      return Dump(call, reply);
    case MOUNTPROC3_UMNT:
      return Umnt(call, reply);
    case MOUNTPROC3_UMNTALL:
      return Umntall(call, reply);
    case MOUNTPROC3_EXPORT:
      return Export(call, reply);
    default:
      return reply.Drop();
  }
}

// Only MNT has a status; the others are not answered, and clients ask again.
void MountProgram::Refuse(uint32_t procedure, Err, rpc::Reply& reply) {
  if (procedure != MOUNTPROC3_MNT) return reply.Drop();
  reply.out().U32(NFS3ERR_SERVERFAULT);
}

Result<FileId> MountProgram::Walk(const rpc::Call& call, std::string_view path) {
  const std::string_view name = NextName(path);
  const Outcome<fs::VolumeInfo> volume = services_.host.Show(name);
  if (!volume) return Fail(Err::kNoEntry);
  PRISM_ASSIGN(const auto exported, services_.exports.Find(volume->id));
  if (exported->rules.Find(call.peer) == nullptr) return Fail(Err::kAccess);
  FileId at{volume->id, kRootInode};
  const fs::Caller server;  // as knfsd: a path to a mount point is not the client's to be refused
  for (;;) {
    const std::string_view next = NextName(path);
    if (next.empty()) break;
    if (next == "..") return Fail(Err::kInvalid);
    PRISM_ASSIGN(const fs::EntryResult entry, exported->fs->Lookup(server, at.ino, next));
    at.ino = entry.attr.ino;
  }
  PRISM_ASSIGN(const fs::Attr attr, exported->fs->Getattr(server, at.ino));
  if (attr.type != fs::FileType::kDirectory) return Fail(Err::kNotDirectory);
  return at;
}

void MountProgram::Mnt(const rpc::Call& call, rpc::Reply& reply) {
  rpc::XdrReader args(call.args);
  const std::string_view path = args.String(kMntPathMax);
  if (!args.Finished()) return reply.SetGarbageArgs();
  const Result<FileId> found = Walk(call, path);
  if (!found) return reply.out().U32(StatusOf(found.error()));
  rpc::XdrWriter& out = reply.out();
  out.U32(MNT3_OK);
  out.Opaque(services_.handles.Encode(*found));
  out.U32(1);  // flavours
  out.U32(kAuthSys);
  std::lock_guard lock(mutex_);
  Mount mount{call.peer.Text(), std::string(path)};
  std::erase(mounts_, mount);
  mounts_.push_back(std::move(mount));
  if (mounts_.size() > kMountsKept) mounts_.pop_front();
}

void MountProgram::Dump(const rpc::Call& call, rpc::Reply& reply) {
  if (!call.args.empty()) return reply.SetGarbageArgs();
  rpc::XdrWriter& out = reply.out();
  std::lock_guard lock(mutex_);
  for (const Mount& mount : mounts_) {
    out.Bool(true);
    out.String(mount.client);
    out.String(mount.path);
  }
  out.Bool(false);
}

void MountProgram::Umnt(const rpc::Call& call, rpc::Reply& reply) {
  rpc::XdrReader args(call.args);
  const std::string_view path = args.String(kMntPathMax);
  if (!args.Finished()) return reply.SetGarbageArgs();
  std::lock_guard lock(mutex_);
  std::erase(mounts_, Mount{call.peer.Text(), std::string(path)});
}

void MountProgram::Umntall(const rpc::Call& call, rpc::Reply& reply) {
  if (!call.args.empty()) return reply.SetGarbageArgs();
  const std::string client = call.peer.Text();
  std::lock_guard lock(mutex_);
  std::erase_if(mounts_, [&](const Mount& mount) { return mount.client == client; });
}

// The exports that this client may use, and by whom else: other tenants' names are not its
// business.
void MountProgram::Export(const rpc::Call& call, rpc::Reply& reply) {
  if (!call.args.empty()) return reply.SetGarbageArgs();
  rpc::XdrWriter& out = reply.out();
  for (const fs::VolumeInfo& volume : services_.host.List()) {
    if (volume.importing || out.size() > kExportBytesMax) continue;
    const Outcome<AccessRules> rules = services_.exports.StoredRules(volume);
    if (!rules || rules->Find(call.peer) == nullptr) continue;
    out.Bool(true);
    out.String("/" + volume.name);
    for (const AccessRule& rule : rules->rules()) {
      out.Bool(true);
      out.String(rule.Client());
    }
    out.Bool(false);
  }
  out.Bool(false);
}

}  // namespace prism::nfs3
