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

}  // namespace prism::fs
