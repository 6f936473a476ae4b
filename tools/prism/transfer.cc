#include "tools/prism/transfer.h"

#include <algorithm>
#include <system_error>

namespace prism::tool {

tl::unexpected<Failure> ExplainErr(Err err, std::string_view what) {
  if (err == Err::kCorrupt)
    return Explain(err, "{}: stored bytes did not verify (the server's log names them)", what);
  return Explain(err, "{}: {}", what, std::generic_category().message(ErrnoOf(err)));
}

bool KeepsXattr(std::string_view name) {
  return name.starts_with("user.") || name.starts_with("trusted.") ||
         name.starts_with("security.") || name == kAccessAclXattr || name == kDefaultAclXattr;
}

Result<std::vector<fs::Xattr>> ReadXattrs(fs::FileSystem& source, InodeId ino) {
  PRISM_ASSIGN(std::vector<std::string> names, source.Listxattr(kRootCaller, ino));
  std::vector<fs::Xattr> xattrs;
  for (std::string& name : names) {
    if (!KeepsXattr(name)) continue;
    Result<std::string> value = source.Getxattr(kRootCaller, ino, name);
    if (!value && value.error() == Err::kNoAttribute) continue;  // removed meanwhile
    if (!value) return Fail(value.error());
    xattrs.push_back({std::move(name), std::move(*value)});
  }
  return xattrs;
}

Outcome<void> ForEachDataRange(fs::FileSystem& source, const fs::Attr& attr,
                               FunctionRef<Outcome<void>(uint64_t offset, uint64_t length)> visit) {
  if (attr.used_bytes >= attr.size) {
    if (attr.size > 0) PRISM_TRY(visit(0, attr.size));
    return {};
  }
  uint64_t offset = 0;
  while (offset < attr.size) {
    Result<uint64_t> data = source.Seek(kRootCaller, attr.ino, offset, fs::SeekWhence::kData);
    if (!data && data.error() == Err::kNoSuchExtent) break;
    if (!data) return ExplainErr(data.error(), "cannot find the data of a sparse file");
    Result<uint64_t> hole = source.Seek(kRootCaller, attr.ino, *data, fs::SeekWhence::kHole);
    if (!hole && hole.error() == Err::kNoSuchExtent) break;  // it became shorter
    if (!hole) return ExplainErr(hole.error(), "cannot find the holes of a sparse file");
    if (*data < offset || *hole <= *data)
      return Explain(Err::kProtocol, "the server's answer to a seek goes backwards");
    const uint64_t end = std::min(*hole, attr.size);
    if (*data < end) PRISM_TRY(visit(*data, end - *data));
    offset = *hole;
  }
  return {};
}

Outcome<void> ForEachEntry(fs::FileSystem& source, InodeId dir,
                           FunctionRef<Outcome<void>(const Entry&)> visit) {
  uint64_t cookie = 0;
  bool eof = false;
  std::vector<Entry> entries;
  while (!eof) {
    entries.clear();
    auto keep = [&](const fs::DirEntry& entry) {
      cookie = entry.cookie;
      if (entry.attr) entries.push_back({std::string(entry.name), *entry.attr});
      return true;
    };
    Result<fs::ReaddirResult> result = source.Readdir(kRootCaller, dir, cookie, true, keep);
    if (!result) return ExplainErr(result.error(), "cannot list a directory of the volume");
    eof = result->eof || entries.empty();
    for (const Entry& entry : entries) {
      if (!fs::CheckName(entry.name))
        return Explain(Err::kProtocol, "the server gave a name that is not one");
      PRISM_TRY(visit(entry));
    }
  }
  return {};
}

}  // namespace prism::tool
