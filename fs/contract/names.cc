#include "fs/contract/file_system.h"

namespace prism::fs {

Status CheckName(std::string_view name) {
  if (name.size() > kNameMax) return Fail(Err::kNameTooLong);
  if (name.empty() || name == "." || name == "..") return Fail(Err::kInvalid);
  if (name.find('/') != name.npos || name.find('\0') != name.npos) return Fail(Err::kInvalid);
  return {};
}

}  // namespace prism::fs
