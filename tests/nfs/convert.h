// Between libnfs's structures of RFC 1813 and the contract's.
#pragma once

#include <optional>

#include "fs/contract/file_system.h"
#include "tests/nfs/rpc_client.h"

namespace prism::test {

// kOk for NFS3_OK. The only place that knows which nfsstat3 stands for which error.
Err ErrOfStatus(nfsstat3 status);

fs::Timespec TimeFrom(const nfstime3& time);
fs::Attr AttrFrom(const fattr3& attr);  // without btime and change, which NFSv3 does not have
std::optional<fs::Attr> AttrFrom(const post_op_attr& attr);

nfstime3 TimeOf(const fs::Timespec& time);
sattr3 SattrOf(const fs::SetAttr& changes);

// The change that wcc_data tells about an object that was `earlier`, by GETATTR, before. What the
// server says takes the place of what was known; what it does not say is empty.
fs::Change ChangeFrom(const wcc_data& wcc, const fs::Attr& earlier);

}  // namespace prism::test
