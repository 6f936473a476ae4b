#include "fs/core/composed_check.h"

#include <algorithm>

#include "cow/table_tree.h"
#include "fs/base/check.h"
#include "fs/core/directory.h"

namespace prism::fs {
namespace {

using clone::VolumeRow;
using cow::EndKey;
using cow::ItemType;
using cow::Key;
using cow::MakeKey;

// What a GraftedTree asks of a part, and nothing else.
class TableVolume : public cow::VolumeMap {
 public:
  TableVolume(cow::Kv& tables, const VolumeRow& row) : tables_(tables), row_(row) {}

  std::unique_ptr<cow::ReadView> Read() override {
    return std::make_unique<cow::TableTree>(tables_, row_.root);
  }
  std::unique_ptr<cow::WriteTransaction> Write() override {
    PRISM_CHECK(false);
    return nullptr;
  }
  Status WaitDurable(Lsn) override { return {}; }
  Lsn LastLsn() override { return 0; }
  cow::VolumeUsage Usage() override { return {}; }
  bool read_only() const override { return true; }
  bool destroyed() const override { return false; }
  std::pair<uint64_t, uint64_t> hash_key() const override { return row_.hash_key; }

 private:
  cow::Kv& tables_;
  const VolumeRow& row_;
};

using Parts = std::map<VolumeId, std::shared_ptr<const FrozenTree>>;

// Parts have smaller numbers than what is made of them (store_check.cc), so this ends.
bool TreeOf(cow::Kv& tables, const ComposedCheck::Rows& rows, const std::set<VolumeId>& whole,
            const VolumeRow& row, Parts& known, GraftedTree& tree) {
  std::vector<GraftedTree::Graft> grafts;
  for (const clone::Graft& graft : row.composition.grafts) {
    std::shared_ptr<const FrozenTree>& part = known[graft.part];
    if (part == nullptr) {
      const auto found = rows.find(graft.part);
      if (found == rows.end() || graft.part >= row.id || !whole.contains(graft.part)) return false;
      auto made = std::make_shared<FrozenTree>();
      made->map = std::make_shared<TableVolume>(tables, found->second);
      made->view = made->map->Read();
      if (!TreeOf(tables, rows, whole, found->second, known, made->grafts)) return false;
      part = std::move(made);
    }
    grafts.push_back({part, graft.prefix, graft.prefixes, graft.read_only});
  }
  tree = GraftedTree(std::move(grafts));
  return true;
}

}  // namespace

std::unique_ptr<ComposedCheck> ComposedCheck::Open(cow::Kv& tables, const Rows& rows,
                                                   const std::set<VolumeId>& whole,
                                                   const VolumeRow& row, std::string name,
                                                   cow::CheckReport& report) {
  Parts known;
  GraftedTree tree;
  if (!TreeOf(tables, rows, whole, row, known, tree)) return nullptr;
  auto own = std::make_shared<TableVolume>(tables, row);
  std::unique_ptr<cow::ReadView> view = own->Read();
  const bool partial = row.composition.partial;
  auto map = std::make_shared<ComposedMap>(std::move(own), std::move(tree), partial);
  return std::unique_ptr<ComposedCheck>(
      new ComposedCheck(std::move(map), std::move(view), partial, std::move(name), report));
}

void ComposedCheck::CannotRead(InodeId ino, Err err) {
  report_.Say("volume {}, inode {}: it cannot be looked up ({})", name_, ino, NameOf(err));
}

void ComposedCheck::AddOwn(Key key, std::string_view value) {
  const InodeId ino = key.ino();
  switch (key.type()) {
    case ItemType::kOrphan:
      orphans_.push_back(ino);
      return;
    case ItemType::kVolatile:
      if (value.size() != sizeof(VolumeId))
        report_.Say("volume {}, inode {}: what it was emptied for does not decode", name_, ino);
      return;
    case ItemType::kRequest:
      return;
    default:
      break;
  }
  touched_.insert(ino);
  const GraftedTree::Graft* graft = tree().Find(ino);
  if (graft == nullptr && ino > clone::kNumberMax)
    report_.Say("volume {}, inode {}: no part has numbers like this one", name_, ino);
  if (graft == nullptr || key.type() != ItemType::kDirEntry) return;
  std::string before;
  const Result<bool> there = GraftedTree::GetInPart(*graft, key, before);
  if (!there) return CannotRead(ino, there.error());
  const auto entry = DecodeEntry(before);
  if (*there && entry) touched_.insert(entry->ino);
}

void ComposedCheck::FindInside() {
  std::vector<InodeId> left{kRootInode};
  inside_.insert(kRootInode);
  while (!left.empty()) {
    const InodeId dir = left.back();
    left.pop_back();
    const Status scanned = tree().Scan(
        *own_, MakeKey(ItemType::kDirEntry, dir), EndKey(ItemType::kDirEntry, dir),
        [&](Key, std::string_view value) {
          const auto entry = DecodeEntry(value);
          if (entry && inside_.insert(entry->ino).second && entry->type == FileType::kDirectory)
            left.push_back(entry->ino);
          return true;
        });
    if (!scanned) CannotRead(dir, scanned.error());
  }
}

// Said by itself: of a file that no entry leads to, though.
bool ComposedCheck::HasNameInside(InodeId ino) {
  bool has = false;
  const Status scanned =
      tree().Scan(*own_, MakeKey(ItemType::kParent, ino), EndKey(ItemType::kParent, ino),
                  [&](Key, std::string_view value) {
                    const auto dir = ParentDirectoryIn(value);
                    has = !dir || inside_.contains(*dir);
                    return !has;
                  });
  if (!scanned) CannotRead(ino, scanned.error());
  return has;
}

void ComposedCheck::GiveAll(VolumeCheck& volume) {
  FindInside();
  std::vector<InodeId> members(inside_.begin(), inside_.end());
  for (const InodeId ino : touched_)
    if (!inside_.contains(ino) && (!IsChecked(ino) || HasNameInside(ino))) members.push_back(ino);
  for (const InodeId ino : orphans_)
    if (!inside_.contains(ino)) members.push_back(ino);
  std::sort(members.begin(), members.end());
  members.erase(std::unique(members.begin(), members.end()), members.end());
  for (const InodeId ino : members) GiveRecord(volume, ino);
  for (const ItemType type : {ItemType::kDirEntry, ItemType::kExtent, ItemType::kXattr,
                              ItemType::kInlineData, ItemType::kSymlink, ItemType::kParent})
    for (const InodeId ino : members) GiveItems(volume, type, ino);
  for (const InodeId ino : orphans_) volume.Add(MakeKey(ItemType::kOrphan, ino), {});
}

// As it is shown: of several names, those that are inside (composed_map.h).
void ComposedCheck::GiveRecord(VolumeCheck& volume, InodeId ino) {
  std::string value;
  const Result<GraftedTree::Origin> origin =
      tree().Get(*own_, MakeKey(ItemType::kInode, ino), value);
  if (!origin) return CannotRead(ino, origin.error());
  if (*origin == GraftedTree::Origin::kNone) return;
  if (ino <= clone::kNumberMax) last_ino_ = std::max(last_ino_, ino);
  if (IsChecked(ino) && value.size() >= kLinksEnd && !IsDirectoryIn(value)) {
    const uint32_t nlink = LinksIn(value);
    if (nlink == 0 && *origin == GraftedTree::Origin::kPart) return;
    uint32_t inside = 0;
    const Status scanned =
        tree().Scan(*own_, MakeKey(ItemType::kParent, ino), EndKey(ItemType::kParent, ino),
                    [&](Key, std::string_view parent) {
                      const auto dir = ParentDirectoryIn(parent);
                      inside += dir && inside_.contains(*dir);
                      return true;
                    });
    if (!scanned) return CannotRead(ino, scanned.error());
    if (nlink > 1 && nlink >= inside) SetLinksIn(value, inside);
  }
  volume.Add(MakeKey(ItemType::kInode, ino), value);
}

void ComposedCheck::GiveItems(VolumeCheck& volume, ItemType type, InodeId ino) {
  const bool chosen = type == ItemType::kParent && IsChecked(ino);
  const Status scanned = tree().Scan(
      *own_, MakeKey(type, ino), EndKey(type, ino), [&](Key key, std::string_view value) {
        const auto dir = chosen ? ParentDirectoryIn(value) : Result<InodeId>(kRootInode);
        if (!dir || inside_.contains(*dir)) volume.Add(key, value);
        return true;
      });
  if (!scanned) CannotRead(ino, scanned.error());
}

}  // namespace prism::fs
