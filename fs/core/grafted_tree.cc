#include "fs/core/grafted_tree.h"

#include <algorithm>
#include <cstring>

#include "clone/composition.h"
#include "fs/base/check.h"

namespace prism::fs {
namespace {

using cow::ItemType;
using cow::Key;

InodeId PrefixOf(const GraftedTree::Graft& graft) {
  return InodeId{graft.prefix} << clone::kPrefixShift;
}

bool NamesInode(ItemType type) { return type == ItemType::kDirEntry || type == ItemType::kParent; }

// Both formats begin with the number (fs/core/dir_cookie.h, fs/core/directory.h).
void AddPrefix(std::string& value, InodeId prefix) {
  InodeId ino = 0;
  if (value.size() < sizeof ino) return;
  std::memcpy(&ino, value.data(), sizeof ino);
  ino += prefix;
  std::memcpy(value.data(), &ino, sizeof ino);
}

// The own tree's items of a range, in order, some at a time: there are rarely any.
class OwnItems {
 public:
  OwnItems(const cow::ReadView& view, Key first, Key last)
      : view_(view), next_(first), last_(last) {}

  // The first that has not been taken; null: there is none.
  struct Item {
    Key key;
    std::string value;
  };
  Result<const Item*> Peek() {
    if (at_ == items_.size()) PRISM_TRY(Fill());
    return at_ == items_.size() ? nullptr : &items_[at_];
  }
  void Take() { ++at_; }

 private:
  Status Fill() {
    items_.clear();
    at_ = 0;
    if (ended_) return {};
    ended_ = true;
    PRISM_TRY(view_.Scan(next_, last_, [&](Key key, std::string_view value) {
      if (items_.size() == batch_) {
        next_ = key;
        ended_ = false;
        return false;
      }
      items_.push_back({key, std::string(value)});
      return true;
    }));
    batch_ = 256;
    return {};
  }

  const cow::ReadView& view_;
  Key next_;
  const Key last_;
  bool ended_ = false;
  size_t batch_ = 16;
  size_t at_ = 0;
  std::vector<Item> items_;
};

}  // namespace

const GraftedTree::Graft* GraftedTree::Find(InodeId ino) const {
  const uint64_t prefix = ino >> clone::kPrefixShift;
  if (prefix == 0) return nullptr;
  auto after = std::upper_bound(grafts_.begin(), grafts_.end(), prefix,
                                [](uint64_t p, const Graft& graft) { return p < graft.prefix; });
  if (after == grafts_.begin()) return nullptr;
  const Graft& graft = *std::prev(after);
  return prefix - graft.prefix < graft.prefixes ? &graft : nullptr;
}

const GraftedTree::Graft* GraftedTree::Find(Key key) const {
  switch (key.type()) {
    case ItemType::kOrphan:
    case ItemType::kRequest:
    case ItemType::kVolatile:
      return nullptr;
    default:
      return Find(key.ino());
  }
}

std::pair<uint64_t, uint64_t> GraftedTree::HashKeyIn(const Graft& graft, InodeId ino) {
  const InodeId there = ino - PrefixOf(graft);
  const Graft* deeper = graft.part->grafts.Find(there);
  return deeper == nullptr ? graft.part->map->hash_key() : HashKeyIn(*deeper, there);
}

Result<bool> GraftedTree::GetInPart(const Graft& graft, Key key, std::string& value) {
  const InodeId prefix = PrefixOf(graft);
  const FrozenTree& part = *graft.part;
  PRISM_ASSIGN(const Origin origin, part.grafts.Get(*part.view, {key.hi - prefix, key.lo}, value));
  if (origin == Origin::kNone) return false;
  if (NamesInode(key.type())) AddPrefix(value, prefix);
  return true;
}

Status GraftedTree::ScanInPart(const Graft& graft, Key first, Key last, Visitor visitor) {
  const InodeId prefix = PrefixOf(graft);
  const FrozenTree& part = *graft.part;
  const bool names_inode = NamesInode(first.type());
  std::string moved;
  return part.grafts.Scan(*part.view, {first.hi - prefix, first.lo}, {last.hi - prefix, last.lo},
                          [&](Key key, std::string_view value) {
                            const Key here{key.hi + prefix, key.lo};
                            if (!names_inode) return visitor(here, value);
                            moved = value;
                            AddPrefix(moved, prefix);
                            return visitor(here, moved);
                          });
}

Result<GraftedTree::Origin> GraftedTree::Get(const cow::ReadView& own, Key key,
                                             std::string& value) const {
  PRISM_ASSIGN(const bool found, own.Get(key, value));
  const Graft* graft = Find(key);
  if (graft == nullptr) return found ? Origin::kOwn : Origin::kNone;
  if (found) return value.empty() ? Origin::kNone : Origin::kOwn;
  PRISM_ASSIGN(const bool below, GetInPart(*graft, key, value));
  return below ? Origin::kPart : Origin::kNone;
}

Status GraftedTree::Scan(const cow::ReadView& own, Key first, Key last, Visitor visitor) const {
  const Graft* graft = Find(first);
  if (graft == nullptr) return own.Scan(first, last, visitor);
  PRISM_CHECK(last <= cow::EndKey(first.type(), first.ino()));
  OwnItems items(own, first, last);
  bool stopped = false;
  // What the own tree has below `limit`, and whether it says anything of `limit` itself.
  auto visit_own = [&](const Key* limit) -> Result<bool> {
    for (;;) {
      PRISM_ASSIGN(const OwnItems::Item* item, items.Peek());
      if (stopped || item == nullptr || (limit != nullptr && *limit < item->key)) return false;
      const bool same = limit != nullptr && item->key == *limit;
      if (!item->value.empty()) stopped = !visitor(item->key, item->value);
      items.Take();
      if (same) return true;
    }
  };
  PRISM_TRY(items.Peek());  // the own tree first: it may be gone
  Status failed;
  PRISM_TRY(ScanInPart(*graft, first, last, [&](Key key, std::string_view value) {
    const Result<bool> replaced = visit_own(&key);
    if (!replaced) failed = Fail(replaced.error());
    if (!replaced || stopped) return false;
    if (!*replaced) stopped = !visitor(key, value);
    return !stopped;
  }));
  PRISM_TRY(failed);
  PRISM_TRY(visit_own(nullptr));
  return {};
}

}  // namespace prism::fs
