#include "fs/core/diff_items.h"

#include <algorithm>
#include <map>
#include <set>

#include "fs/base/bytes.h"
#include "fs/core/dir_cookie.h"

namespace prism::fs {
namespace {

using cow::EndKey;
using cow::ItemType;
using cow::MakeKey;

// The items of one type, by their lo.
Result<std::map<uint64_t, std::string>> ItemsOf(const cow::ReadView& view, ItemType type,
                                                InodeId ino) {
  std::map<uint64_t, std::string> items;
  PRISM_TRY(
      view.Scan(MakeKey(type, ino), EndKey(type, ino), [&](cow::Key key, std::string_view value) {
        items.emplace(key.lo, value);
        return true;
      }));
  return items;
}

}  // namespace

// A kParent item's value: directory u64, cookie u64 (fs/core/directory.h).
Result<std::vector<ParentName>> NamesOf(const cow::ReadView& view, InodeId ino) {
  PRISM_ASSIGN(const auto items, ItemsOf(view, ItemType::kParent, ino));
  std::vector<ParentName> names;
  std::string value;
  for (const auto& [lo, bytes] : items) {
    ByteReader reader(bytes);
    ParentName name;
    name.dir = reader.Get<uint64_t>();
    name.cookie = reader.Get<uint64_t>();
    if (!reader.Finished()) return Fail(Err::kCorrupt);
    PRISM_ASSIGN(const bool found,
                 view.Get(MakeKey(ItemType::kDirEntry, name.dir, name.cookie), value));
    if (!found) return Fail(Err::kCorrupt);
    PRISM_ASSIGN(const EntryValue entry, DecodeEntry(value));
    name.name = entry.name;
    names.push_back(std::move(name));
  }
  return names;
}

Result<ParentName> NameOfDirectory(const cow::ReadView& view, InodeId dir) {
  PRISM_ASSIGN(std::vector<ParentName> names, NamesOf(view, dir));
  if (names.size() != 1) return Fail(Err::kCorrupt);
  return std::move(names.front());
}

Result<std::string> PathOf(const cow::ReadView& view, InodeId ino, std::string_view likely) {
  constexpr size_t kPathMax = size_t{1} << 20;  // damage must not loop forever
  std::string path;
  while (ino != kRootInode) {
    PRISM_ASSIGN(const std::vector<ParentName> names, NamesOf(view, ino));
    if (names.empty() || path.size() > kPathMax) return Fail(Err::kCorrupt);
    auto name = std::find_if(names.begin(), names.end(),
                             [&](const ParentName& one) { return one.name == likely; });
    if (name == names.end()) name = names.begin();
    path = "/" + name->name + path;
    ino = name->dir;
  }
  return path.empty() ? "/" : path;
}

// The places of attributes depend on their volume's key; what is at them, name and value, does not.
Result<bool> SameXattrs(const cow::ReadView& a, InodeId ino_a, const cow::ReadView& b,
                        InodeId ino_b) {
  PRISM_ASSIGN(const auto items_a, ItemsOf(a, ItemType::kXattr, ino_a));
  PRISM_ASSIGN(const auto items_b, ItemsOf(b, ItemType::kXattr, ino_b));
  std::set<std::string_view> values_a, values_b;
  for (const auto& [lo, value] : items_a) values_a.insert(value);
  for (const auto& [lo, value] : items_b) values_b.insert(value);
  return values_a == values_b;
}

Result<bool> SameBody(const cow::ReadView& a, InodeId ino_a, const cow::ReadView& b, InodeId ino_b,
                      std::vector<uint64_t>& blocks) {
  std::set<uint64_t> differing;
  for (ItemType type : {ItemType::kExtent, ItemType::kInlineData, ItemType::kSymlink}) {
    PRISM_ASSIGN(const auto items_a, ItemsOf(a, type, ino_a));
    PRISM_ASSIGN(const auto items_b, ItemsOf(b, type, ino_b));
    for (const auto* items : {&items_a, &items_b})
      for (const auto& [lo, value] : *items) {
        const auto& others = items == &items_a ? items_b : items_a;
        auto other = others.find(lo);
        if (other == others.end() || other->second != value) differing.insert(lo);
      }
  }
  blocks.assign(differing.begin(), differing.end());
  return blocks.empty();
}

}  // namespace prism::fs
