#include "server/nfs3/types.h"

namespace prism::nfs3 {

Nfsstat3 StatusOf(Err err) {
  switch (err) {
    case Err::kOk:
      return NFS3_OK;
    case Err::kPerm:
      return NFS3ERR_PERM;
    case Err::kNoEntry:
      return NFS3ERR_NOENT;
    case Err::kAccess:
      return NFS3ERR_ACCES;
    case Err::kExists:
      return NFS3ERR_EXIST;
    case Err::kNotDirectory:
      return NFS3ERR_NOTDIR;
    case Err::kIsDirectory:
      return NFS3ERR_ISDIR;
    case Err::kInvalid:
    case Err::kProtocol:
    case Err::kLoop:
      return NFS3ERR_INVAL;
    case Err::kTooLarge:
      return NFS3ERR_FBIG;
    case Err::kNoSpace:
      return NFS3ERR_NOSPC;
    case Err::kQuota:
      return NFS3ERR_DQUOT;
    case Err::kReadOnly:
      return NFS3ERR_ROFS;
    case Err::kTooManyLinks:
      return NFS3ERR_MLINK;
    case Err::kNameTooLong:
      return NFS3ERR_NAMETOOLONG;
    case Err::kNotEmpty:
      return NFS3ERR_NOTEMPTY;
    case Err::kStale:
      return NFS3ERR_STALE;
    case Err::kNotSupported:
      return NFS3ERR_NOTSUPP;
    case Err::kNotSync:
      return NFS3ERR_NOT_SYNC;
    case Err::kNoSuchExtent:
      return NFS3ERR_NXIO;
    case Err::kBusy:
    case Err::kAgain:
    case Err::kTimedOut:
      return NFS3ERR_JUKEBOX;
    default:
      return NFS3ERR_IO;
  }
}

}  // namespace prism::nfs3
