#include "server/nlm/share_table.h"

namespace prism::nlm {

Status ShareTable::Set(const File& file, uint64_t machine, const std::string& owner,
                       uint32_t access, uint32_t mode) {
  std::lock_guard lock(mutex_);
  auto found = files_.find(file);
  Share* own = nullptr;
  if (found != files_.end()) {
    for (Share& share : found->second) {
      if (share.machine == machine && share.owner == owner)
        own = &share;
      else if ((share.access & mode) != 0 || (share.mode & access) != 0)
        return Fail(Err::kAgain);
    }
  }
  if (own != nullptr) {
    own->access = access;
    own->mode = mode;
    return {};
  }
  if (shares_ >= kSharesMax) return Fail(Err::kNoLocks);
  files_[file].push_back({machine, owner, access, mode});
  ++shares_;
  return {};
}

void ShareTable::Remove(const File& file, uint64_t machine, const std::string& owner) {
  std::lock_guard lock(mutex_);
  auto found = files_.find(file);
  if (found == files_.end()) return;
  shares_ -= std::erase_if(found->second, [&](const Share& share) {
    return share.machine == machine && share.owner == owner;
  });
  if (found->second.empty()) files_.erase(found);
}

void ShareTable::Drop(uint64_t machine) {
  std::lock_guard lock(mutex_);
  for (auto file = files_.begin(); file != files_.end();) {
    shares_ -=
        std::erase_if(file->second, [&](const Share& share) { return share.machine == machine; });
    file = file->second.empty() ? files_.erase(file) : std::next(file);
  }
}

}  // namespace prism::nlm
