#include "tests/nfs/convert.h"

namespace prism::test {

Err ErrOfStatus(nfsstat3 status) {
  switch (status) {
    case NFS3_OK:
      return Err::kOk;
    case NFS3ERR_PERM:
      return Err::kPerm;
    case NFS3ERR_NOENT:
      return Err::kNoEntry;
    case NFS3ERR_NXIO:
      return Err::kNoSuchExtent;
    case NFS3ERR_ACCES:
      return Err::kAccess;
    case NFS3ERR_EXIST:
      return Err::kExists;
    case NFS3ERR_NOTDIR:
      return Err::kNotDirectory;
    case NFS3ERR_ISDIR:
      return Err::kIsDirectory;
    case NFS3ERR_INVAL:
    case NFS3ERR_BADTYPE:
      return Err::kInvalid;
    case NFS3ERR_FBIG:
      return Err::kTooLarge;
    case NFS3ERR_NOSPC:
      return Err::kNoSpace;
    case NFS3ERR_ROFS:
      return Err::kReadOnly;
    case NFS3ERR_MLINK:
      return Err::kTooManyLinks;
    case NFS3ERR_NAMETOOLONG:
      return Err::kNameTooLong;
    case NFS3ERR_NOTEMPTY:
      return Err::kNotEmpty;
    case NFS3ERR_DQUOT:
      return Err::kQuota;
    case NFS3ERR_STALE:
      return Err::kStale;
    case NFS3ERR_NOT_SYNC:
      return Err::kNotSync;
    case NFS3ERR_NOTSUPP:
      return Err::kNotSupported;
    case NFS3ERR_JUKEBOX:
      return Err::kAgain;
    default:
      return Err::kIo;
  }
}

fs::Timespec TimeFrom(const nfstime3& time) { return {time.seconds, time.nseconds}; }

fs::Attr AttrFrom(const fattr3& from) {
  fs::Attr attr;
  attr.ino = from.fileid;
  attr.type = static_cast<fs::FileType>(from.type);
  attr.mode = from.mode;
  attr.nlink = from.nlink;
  attr.uid = from.uid;
  attr.gid = from.gid;
  attr.size = from.size;
  attr.used_bytes = from.used;
  attr.rdev_major = from.rdev.specdata1;
  attr.rdev_minor = from.rdev.specdata2;
  attr.atime = TimeFrom(from.atime);
  attr.mtime = TimeFrom(from.mtime);
  attr.ctime = TimeFrom(from.ctime);
  return attr;
}

std::optional<fs::Attr> AttrFrom(const post_op_attr& attr) {
  if (!attr.attributes_follow) return std::nullopt;
  return AttrFrom(attr.post_op_attr_u.attributes);
}

nfstime3 TimeOf(const fs::Timespec& time) {
  return {.seconds = static_cast<u_int>(time.sec), .nseconds = time.nsec};
}

sattr3 SattrOf(const fs::SetAttr& changes) {
  sattr3 to = {};
  to.mode.set_it = changes.mode.has_value();
  to.mode.set_mode3_u.mode = changes.mode.value_or(0);
  to.uid.set_it = changes.uid.has_value();
  to.uid.set_uid3_u.uid = changes.uid.value_or(0);
  to.gid.set_it = changes.gid.has_value();
  to.gid.set_gid3_u.gid = changes.gid.value_or(0);
  to.size.set_it = changes.size.has_value();
  to.size.set_size3_u.size = changes.size.value_or(0);
  if (changes.atime) {
    to.atime.set_it = SET_TO_CLIENT_TIME;
    to.atime.set_atime_u.atime = TimeOf(*changes.atime);
  } else if (changes.atime_now) {
    to.atime.set_it = SET_TO_SERVER_TIME;
  }
  if (changes.mtime) {
    to.mtime.set_it = SET_TO_CLIENT_TIME;
    to.mtime.set_mtime_u.mtime = TimeOf(*changes.mtime);
  } else if (changes.mtime_now) {
    to.mtime.set_it = SET_TO_SERVER_TIME;
  }
  return to;
}

fs::Change ChangeFrom(const wcc_data& wcc, const fs::Attr& earlier) {
  fs::Change change;
  if (wcc.before.attributes_follow) {
    const wcc_attr& before = wcc.before.pre_op_attr_u.attributes;
    change.before = earlier;
    change.before.size = before.size;
    change.before.mtime = TimeFrom(before.mtime);
    change.before.ctime = TimeFrom(before.ctime);
  }
  change.after = AttrFrom(wcc.after).value_or(fs::Attr{});
  return change;
}

}  // namespace prism::test
