// Names and listings over NFSv3.
#include <cstring>
#include <deque>

#include "tests/conformance/nfs_file_system.h"
#include "tests/nfs/convert.h"

namespace prism::conformance {

using fs::Attr;
using fs::Caller;
using fs::FileType;
using test::AttrFrom;
using test::ChangeFrom;
using test::DirOp;
using test::ErrOfStatus;
using test::HandleOf;
using test::SattrOf;

namespace {

constexpr uint32_t kListBytes = 65536;

// What the four procedures that make something answer, each in its own structure.
template <typename Body, typename Made>
void TakeMade(nfsstat3 status, const Body& ok, Made& made) {
  made.status = status;
  if (status != NFS3_OK) return;
  if (ok.obj.handle_follows) made.handle = HandleOf(ok.obj.post_op_fh3_u.handle);
  made.attr = AttrFrom(ok.obj_attributes);
  made.dir = ok.dir_wcc;
}

}  // namespace

Result<fs::EntryResult> NfsFileSystem::Lookup(const Caller& caller, InodeId dir,
                                              std::string_view name) {
  PRISM_ASSIGN(const std::string dir_handle, Handle(dir));
  const std::string text(name);
  LOOKUP3args args = {.what = DirOp(dir_handle, text)};
  Err err = Err::kOk;
  fs::EntryResult result;
  std::string found;
  PRISM_TRY(Ask<LOOKUP3res>(caller, rpc_nfs3_lookup_async, args, [&](LOOKUP3res& results) {
    err = ErrOfStatus(results.status);
    if (err != Err::kOk) return;
    const LOOKUP3resok& ok = results.LOOKUP3res_u.resok;
    found = HandleOf(ok.object);
    result.attr = AttrFrom(ok.obj_attributes).value_or(Attr{});
    result.parent.before = AttrFrom(ok.dir_attributes).value_or(Attr{});
  }));
  if (err != Err::kOk) return Fail(err);
  Learn(result.attr.ino, found);
  result.parent.after = result.parent.before;
  return result;
}

Result<NfsFileSystem::Made> NfsFileSystem::Make(const Caller& caller, const fs::CreateArgs& args,
                                                const diropargs3& where) {
  fs::SetAttr initial = args.initial;
  if (!initial.mode) initial.mode = args.mode & ~args.umask;
  const sattr3 attributes = SattrOf(initial);
  Made made;
  Status asked;
  if (args.type == FileType::kRegular) {
    CREATE3args create = {.where = where, .how = {}};
    create.how.mode = args.exclusivity == fs::Exclusivity::kGuarded     ? GUARDED
                      : args.exclusivity == fs::Exclusivity::kUnchecked ? UNCHECKED
                                                                        : EXCLUSIVE;
    if (create.how.mode == EXCLUSIVE) {
      std::memcpy(create.how.createhow3_u.verf, &args.verifier, sizeof args.verifier);
    } else {
      create.how.createhow3_u.obj_attributes = attributes;
    }
    asked = Ask<CREATE3res>(caller, rpc_nfs3_create_async, create,
                            [&](auto& r) { TakeMade(r.status, r.CREATE3res_u.resok, made); });
  } else if (args.type == FileType::kDirectory) {
    MKDIR3args mkdir = {.where = where, .attributes = attributes};
    asked = Ask<MKDIR3res>(caller, rpc_nfs3_mkdir_async, mkdir,
                           [&](auto& r) { TakeMade(r.status, r.MKDIR3res_u.resok, made); });
  } else if (args.type == FileType::kSymlink) {
    std::string target(args.symlink_target);
    SYMLINK3args symlink = {
        .where = where,
        .symlink = {.symlink_attributes = attributes, .symlink_data = target.data()}};
    asked = Ask<SYMLINK3res>(caller, rpc_nfs3_symlink_async, symlink,
                             [&](auto& r) { TakeMade(r.status, r.SYMLINK3res_u.resok, made); });
  } else {
    MKNOD3args mknod = {.where = where, .what = {}};
    mknod.what.type = static_cast<ftype3>(args.type);
    if (args.type == FileType::kSocket || args.type == FileType::kFifo) {
      mknod.what.mknoddata3_u.sock_attributes = attributes;
    } else {
      mknod.what.mknoddata3_u.chr_device = {attributes, {args.rdev_major, args.rdev_minor}};
    }
    asked = Ask<MKNOD3res>(caller, rpc_nfs3_mknod_async, mknod,
                           [&](auto& r) { TakeMade(r.status, r.MKNOD3res_u.resok, made); });
  }
  PRISM_TRY(asked);
  return made;
}

Result<fs::EntryResult> NfsFileSystem::Create(const Caller& caller, const fs::CreateArgs& args) {
  if (!args.xattrs.empty()) return Fail(Err::kNotSupported);
  PRISM_ASSIGN(const std::string dir, Handle(args.parent));
  const std::string name(args.name);
  PRISM_ASSIGN(const Attr dir_before, Getattr(Caller{}, args.parent));
  fs::EntryResult result;
  result.created = !Lookup(Caller{}, args.parent, name);
  PRISM_ASSIGN(const Made made, Make(caller, args, DirOp(dir, name)));
  if (made.status != NFS3_OK) return Fail(ErrOfStatus(made.status));
  result.attr = made.attr.value_or(Attr{});
  result.parent = ChangeFrom(made.dir, dir_before);
  Learn(result.attr.ino, made.handle);
  if (args.data.empty()) return result;
  fs::WriteArgs write;
  write.ino = result.attr.ino;
  write.data = args.data;
  PRISM_ASSIGN(const fs::WriteResult written, Write(Caller{}, write));
  result.attr = written.change.after;
  return result;
}

Result<fs::EntryResult> NfsFileSystem::Link(const Caller& caller, InodeId ino, InodeId dir,
                                            std::string_view name) {
  PRISM_ASSIGN(const std::string file, Handle(ino));
  PRISM_ASSIGN(const std::string dir_handle, Handle(dir));
  PRISM_ASSIGN(const Attr dir_before, Getattr(Caller{}, dir));
  const std::string text(name);
  LINK3args args = {.file = HandleOf(file), .link = DirOp(dir_handle, text)};
  Err err = Err::kOk;
  fs::EntryResult result;
  result.created = true;
  PRISM_TRY(Ask<LINK3res>(caller, rpc_nfs3_link_async, args, [&](LINK3res& results) {
    err = ErrOfStatus(results.status);
    if (err != Err::kOk) return;
    const LINK3resok& ok = results.LINK3res_u.resok;
    result.attr = AttrFrom(ok.file_attributes).value_or(Attr{});
    result.parent = ChangeFrom(ok.linkdir_wcc, dir_before);
  }));
  if (err != Err::kOk) return Fail(err);
  return result;
}

Attr NfsFileSystem::AttrAfter(const Attr& before) {
  auto now = Getattr(Caller{}, before.ino);
  if (now) return *now;
  Attr gone = before;
  gone.nlink = 0;
  return gone;
}

Result<fs::RemoveResult> NfsFileSystem::Unlink(const Caller& caller, InodeId dir,
                                               std::string_view name) {
  PRISM_ASSIGN(const std::string dir_handle, Handle(dir));
  PRISM_ASSIGN(const Attr dir_before, Getattr(Caller{}, dir));
  auto victim = Lookup(Caller{}, dir, name);
  const std::string text(name);
  REMOVE3args args = {.object = DirOp(dir_handle, text)};
  Err err = Err::kOk;
  fs::RemoveResult result;
  PRISM_TRY(Ask<REMOVE3res>(caller, rpc_nfs3_remove_async, args, [&](auto& results) {
    err = ErrOfStatus(results.status);
    if (err == Err::kOk) result.parent = ChangeFrom(results.REMOVE3res_u.resok.dir_wcc, dir_before);
  }));
  if (err != Err::kOk) return Fail(err);
  PRISM_TRY(victim);
  result.removed = AttrAfter(victim->attr);
  return result;
}

Result<fs::RemoveResult> NfsFileSystem::Rmdir(const Caller& caller, InodeId dir,
                                              std::string_view name) {
  PRISM_ASSIGN(const std::string dir_handle, Handle(dir));
  PRISM_ASSIGN(const Attr dir_before, Getattr(Caller{}, dir));
  auto victim = Lookup(Caller{}, dir, name);
  const std::string text(name);
  RMDIR3args args = {.object = DirOp(dir_handle, text)};
  Err err = Err::kOk;
  fs::RemoveResult result;
  PRISM_TRY(Ask<RMDIR3res>(caller, rpc_nfs3_rmdir_async, args, [&](auto& results) {
    err = ErrOfStatus(results.status);
    if (err == Err::kOk) result.parent = ChangeFrom(results.RMDIR3res_u.resok.dir_wcc, dir_before);
  }));
  if (err != Err::kOk) return Fail(err);
  PRISM_TRY(victim);
  result.removed = AttrAfter(victim->attr);
  return result;
}

Result<fs::RenameResult> NfsFileSystem::Rename(const Caller& caller, InodeId from_dir,
                                               std::string_view from_name, InodeId to_dir,
                                               std::string_view to_name, uint32_t flags) {
  if (flags != 0) return Fail(Err::kNotSupported);
  PRISM_ASSIGN(const std::string from, Handle(from_dir));
  PRISM_ASSIGN(const std::string to, Handle(to_dir));
  PRISM_ASSIGN(const Attr from_before, Getattr(Caller{}, from_dir));
  PRISM_ASSIGN(const Attr to_before, Getattr(Caller{}, to_dir));
  auto moved = Lookup(Caller{}, from_dir, from_name);
  auto target = Lookup(Caller{}, to_dir, to_name);
  const std::string from_text(from_name), to_text(to_name);
  RENAME3args args = {.from = DirOp(from, from_text), .to = DirOp(to, to_text)};
  Err err = Err::kOk;
  fs::RenameResult result;
  PRISM_TRY(Ask<RENAME3res>(caller, rpc_nfs3_rename_async, args, [&](auto& results) {
    err = ErrOfStatus(results.status);
    if (err != Err::kOk) return;
    const RENAME3resok& ok = results.RENAME3res_u.resok;
    result.from_parent = ChangeFrom(ok.fromdir_wcc, from_before);
    result.to_parent = ChangeFrom(ok.todir_wcc, to_before);
  }));
  if (err != Err::kOk) return Fail(err);
  PRISM_TRY(moved);
  PRISM_ASSIGN(result.moved, Getattr(Caller{}, moved->attr.ino));
  if (target && target->attr.ino != moved->attr.ino) result.replaced = AttrAfter(target->attr);
  return result;
}

Result<NfsFileSystem::Page> NfsFileSystem::List(const Caller& caller, const std::string& dir,
                                                uint64_t cookie) {
  READDIR3args args = {
      .dir = HandleOf(dir), .cookie = cookie, .cookieverf = {}, .count = kListBytes};
  if (cookie != 0) std::memcpy(args.cookieverf, verifiers_[dir].data(), NFS3_COOKIEVERFSIZE);
  Err err = Err::kOk;
  Page page;
  PRISM_TRY(Ask<READDIR3res>(caller, rpc_nfs3_readdir_async, args, [&](READDIR3res& results) {
    err = ErrOfStatus(results.status);
    if (err != Err::kOk) return;
    const READDIR3resok& ok = results.READDIR3res_u.resok;
    page.dir = AttrFrom(ok.dir_attributes);
    page.eof = ok.reply.eof;
    verifiers_[dir].assign(ok.cookieverf, NFS3_COOKIEVERFSIZE);
    for (const entry3* entry = ok.reply.entries; entry != nullptr; entry = entry->nextentry)
      page.entries.push_back({entry->fileid, entry->cookie, entry->name, {}, {}});
  }));
  if (err != Err::kOk) return Fail(err);
  return page;
}

Result<NfsFileSystem::Page> NfsFileSystem::ListPlus(const Caller& caller, const std::string& dir,
                                                    uint64_t cookie) {
  READDIRPLUS3args args = {.dir = HandleOf(dir),
                           .cookie = cookie,
                           .cookieverf = {},
                           .dircount = kListBytes,
                           .maxcount = kListBytes};
  if (cookie != 0) std::memcpy(args.cookieverf, verifiers_[dir].data(), NFS3_COOKIEVERFSIZE);
  Err err = Err::kOk;
  Page page;
  PRISM_TRY(
      Ask<READDIRPLUS3res>(caller, rpc_nfs3_readdirplus_async, args, [&](READDIRPLUS3res& results) {
        err = ErrOfStatus(results.status);
        if (err != Err::kOk) return;
        const READDIRPLUS3resok& ok = results.READDIRPLUS3res_u.resok;
        page.dir = AttrFrom(ok.dir_attributes);
        page.eof = ok.reply.eof;
        verifiers_[dir].assign(ok.cookieverf, NFS3_COOKIEVERFSIZE);
        for (const entryplus3* entry = ok.reply.entries; entry; entry = entry->nextentry) {
          Listed listed{entry->fileid, entry->cookie, entry->name, {}, {}};
          listed.attr = AttrFrom(entry->name_attributes);
          if (entry->name_handle.handle_follows)
            listed.handle = HandleOf(entry->name_handle.post_op_fh3_u.handle);
          page.entries.push_back(std::move(listed));
        }
      }));
  if (err != Err::kOk) return Fail(err);
  return page;
}

Result<fs::ReaddirResult> NfsFileSystem::Readdir(const Caller& caller, InodeId dir, uint64_t cookie,
                                                 bool with_attr,
                                                 FunctionRef<bool(const fs::DirEntry&)> visitor) {
  PRISM_ASSIGN(const std::string handle, Handle(dir));
  fs::ReaddirResult result;
  size_t visited = 0;
  while (!result.eof && visited < fs::kReaddirEntriesMax) {
    PRISM_ASSIGN(const Page page,
                 with_attr ? ListPlus(caller, handle, cookie) : List(caller, handle, cookie));
    result.dir = page.dir.value_or(Attr{});
    if (page.entries.empty() && !page.eof) return Fail(Err::kProtocol);
    for (const Listed& listed : page.entries) {
      cookie = listed.cookie;
      if (listed.name == "." || listed.name == "..") continue;
      if (!listed.handle.empty()) Learn(listed.ino, listed.handle);
      fs::DirEntry entry;
      entry.cookie = listed.cookie;
      entry.ino = listed.ino;
      entry.name = listed.name;
      entry.attr = listed.attr ? &*listed.attr : nullptr;
      if (listed.attr) entry.type = listed.attr->type;  // READDIR tells no types
      if (visited++ == fs::kReaddirEntriesMax || !visitor(entry)) return result;
    }
    result.eof = page.eof;
  }
  return result;
}

// Names and handles of the whole volume, directory by directory.
Result<std::string> NfsFileSystem::Handle(InodeId ino) {
  auto known = handles_.find(ino);
  if (known != handles_.end()) return known->second;
  std::deque<InodeId> directories = {kRootInode};
  while (!directories.empty()) {
    const InodeId dir = directories.front();
    directories.pop_front();
    uint64_t cookie = 0;
    for (bool eof = false; !eof;) {
      PRISM_ASSIGN(const Page page, ListPlus(Caller{}, handles_.at(dir), cookie));
      for (const Listed& listed : page.entries) {
        cookie = listed.cookie;
        if (listed.name == "." || listed.name == "..") continue;
        Learn(listed.ino, listed.handle);
        if (listed.ino == ino) return listed.handle;
        if (listed.attr && listed.attr->type == FileType::kDirectory)
          directories.push_back(listed.ino);
      }
      eof = page.eof;
    }
  }
  return Fail(Err::kStale);
}

}  // namespace prism::conformance
