#include "fs/contract/file_system.h"

namespace prism::fs {

Result<ReadResult> FileSystem::ReadInPlace(
    const Caller& caller, InodeId ino, uint64_t offset, size_t length,
    FunctionRef<void(const ReadResult&, std::span<const std::byte>)> visitor) {
  if (length > kIoMax) return Fail(Err::kInvalid);
  std::vector<std::byte> buffer(length);
  PRISM_ASSIGN(const ReadResult result, Read(caller, ino, offset, buffer));
  if (result.length > length) return Fail(Err::kProtocol);
  visitor(result, std::span(buffer).first(result.length));
  return result;
}

Result<KeptRead> FileSystem::ReadKept(const Caller& caller, InodeId ino, uint64_t offset,
                                      size_t length) {
  if (length > kIoMax) return Fail(Err::kInvalid);
  const auto buffer = std::make_shared_for_overwrite<std::byte[]>(length);
  PRISM_ASSIGN(const ReadResult result, Read(caller, ino, offset, {buffer.get(), length}));
  if (result.length > length) return Fail(Err::kProtocol);
  return KeptRead{result, {{buffer, {buffer.get(), result.length}}}};
}

}  // namespace prism::fs
