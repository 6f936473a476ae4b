// Comparing two volumes as a whole.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/model/random_compare.h"

namespace prism::model {
namespace {

constexpr fs::Caller kAll{.check_permission = true};

Operation Simple(OpKind kind) {
  Operation operation;
  operation.kind = kind;
  operation.with_attr = true;
  return operation;
}

struct Extent {
  uint64_t first = 0;
  uint64_t last = 0;
};

// Where this side says that there is data.
Result<std::vector<Extent>> ExtentsOf(fs::FileSystem& file_system, InodeId ino) {
  std::vector<Extent> extents;
  uint64_t offset = 0;
  while (true) {
    auto data = file_system.Seek(kAll, ino, offset, fs::SeekWhence::kData);
    if (!data) {
      if (data.error() == Err::kNoSuchExtent) return extents;
      return Fail(data.error());
    }
    PRISM_ASSIGN(uint64_t hole, file_system.Seek(kAll, ino, *data, fs::SeekWhence::kHole));
    if (hole <= *data) return Fail(Err::kCorrupt);  // would never end
    extents.push_back({*data, hole});
    offset = hole;
  }
}

Result<std::string> ReadRange(fs::FileSystem& file_system, InodeId ino, const Extent& extent) {
  std::string all;
  while (extent.first + all.size() < extent.last) {
    uint64_t offset = extent.first + all.size();
    std::string buffer(std::min<uint64_t>(extent.last - offset, fs::kIoMax), '\0');
    PRISM_ASSIGN(auto result,
                 file_system.Read(kAll, ino, offset, std::as_writable_bytes(std::span(buffer))));
    if (result.length == 0) break;
    all.append(buffer, 0, result.length);
  }
  return all;
}

}  // namespace

std::string Pair::WalkContent(const Handle& handle, bool settled) {
  auto model_extents = ExtentsOf(*model_, handle.model);
  auto real_extents = ExtentsOf(*real_, handle.real);
  if (way_ == Way::kNfs) real_extents.emplace();  // it cannot be asked
  if (!model_extents || !real_extents) return "the extents could not be listed";
  model_extents->insert(model_extents->end(), real_extents->begin(), real_extents->end());
  bool all_zero = true;
  for (const Extent& extent : *model_extents) {
    auto expected = ReadRange(*model_, handle.model, extent);
    auto found = ReadRange(*real_, handle.real, extent);
    if (!expected || !found)
      return fmt::format("reading [{}, {}): {}", extent.first, extent.last,
                         NameOf(found ? Err::kOk : found.error()));
    all_zero = all_zero && expected->find_first_not_of('\0') == expected->npos;
    auto [a, b] = std::mismatch(expected->begin(), expected->end(), found->begin(), found->end());
    if (a != expected->end() || b != found->end())
      return fmt::format("contents differ at {}", extent.first + (a - expected->begin()));
  }
  if (way_ == Way::kMount) return {};  // its blocks are what the kernel was told last
  auto attr = real_->Getattr(kAll, handle.real);
  if (!attr) return "attributes are gone";
  if (!all_zero && attr->used_bytes == 0) return "there is data, but used_bytes is 0";
  auto expected = model_->Getattr(kAll, handle.model);
  if (settled && expected && expected->used_bytes == 0 && attr->used_bytes != 0)
    return fmt::format("{} bytes are used where nothing was written", attr->used_bytes);
  return {};
}

std::string Pair::WalkXattrs(const Handle& handle) {
  size_t place = by_model_.at(handle.model);
  Operation list = Simple(OpKind::kListxattr);
  list.target = place;
  std::string difference = Step(list);
  if (!difference.empty()) return difference;
  auto names = model_->Listxattr(kAll, handle.model);
  if (!names) return {};
  for (const std::string& name : *names) {
    Operation get = Simple(OpKind::kGetxattr);
    get.target = place;
    get.name = name;
    difference = Step(get);
    if (!difference.empty()) return name + ": " + difference;
  }
  return {};
}

std::string Pair::WalkInode(Handle& handle, bool settled) {
  size_t place = by_model_.at(handle.model);
  auto step = [&](OpKind kind) {
    Operation operation = Simple(kind);
    operation.target = place;
    return Step(operation);
  };
  std::string difference = step(OpKind::kGetattr);
  if (!difference.empty() || handle.gone) return difference;
  if (way_ != Way::kNfs) difference = WalkXattrs(handle);
  if (!difference.empty()) return difference;
  switch (handle.type) {
    case fs::FileType::kDirectory: {
      difference = step(OpKind::kReaddir);
      if (!difference.empty() || handle.orphan) return difference;
      Operation up = Simple(OpKind::kLookup);
      up.target = place;
      up.name = "..";
      return Step(up);
    }
    case fs::FileType::kSymlink:
      return step(OpKind::kReadlink);
    case fs::FileType::kRegular:
      return WalkContent(handle, settled);
    default:
      return {};
  }
}

std::string Pair::Walk(bool settle) {
  uint64_t used = 0;
  if (way_ == Way::kNfs) settle = false;
  if (settle && !real_->Sync(kAll)) return "Sync failed";
  for (size_t i = 0; i < handles_.size(); ++i) {
    std::string difference = WalkInode(handles_[i], settle);
    if (!difference.empty())
      return fmt::format("walking '{}', #{} (inode {}): {}", name_, i, handles_[i].model,
                         difference);
    if (auto attr = real_->Getattr(kAll, handles_[i].real)) used += attr->used_bytes;
  }
  std::string difference = WalkForeign();
  return difference.empty() ? WalkUsage(used) : difference;
}

std::string Pair::WalkForeign() {
  for (InodeId ino : foreign_) {
    if (by_real_.contains(ino)) continue;
    auto attr = real_->Getattr(kAll, ino);
    if (attr || attr.error() != Err::kStale)
      return fmt::format("'{}': inode {} of another volume is {}", name_, ino,
                         NameOf(attr ? Err::kOk : attr.error()));
  }
  return {};
}

// What nobody holds any more is freed in the background.
// A snapshot keeps it, and nobody can look at it there; so does what is sealed.
std::string Pair::WalkUsage(uint64_t used) {
  if (read_only() || sealed_ || way_ != Way::kContract) return {};
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (true) {
    auto expected = model_->Statfs(kAll);
    auto found = real_->Statfs(kAll);
    if (!expected || !found) return "Statfs failed";
    if (expected->files == found->files && found->used_bytes == used) return {};
    if (std::chrono::steady_clock::now() > deadline)
      return fmt::format(
          "'{}': {} files in the model, {} in the store, which uses {} bytes and {} "
          "by its files",
          name_, expected->files, found->files, found->used_bytes, used);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace prism::model
