#include "tests/model/locks.h"

#include <algorithm>

namespace prism::model {
namespace {

using fs::LockKind;
using fs::LockType;

LockKind KindOf(const Locks::Entry& entry) { return std::get<1>(entry.owner); }
const void* ClientOf(const Locks::Entry& entry) { return std::get<0>(entry.owner); }

Result<Locks::Entry> EntryOf(const void* client, const fs::LockArgs& args) {
  if (args.kind > LockKind::kNetwork || args.type > LockType::kExclusive)
    return Fail(Err::kInvalid);
  if (args.owner.size() > fs::kLockOwnerMax) return Fail(Err::kInvalid);
  uint64_t last = args.length == 0 ? fs::kLockOffsetMax : args.start + args.length - 1;
  if (args.start > last || last > fs::kLockOffsetMax) return Fail(Err::kInvalid);
  bool whole = args.start == 0 && args.length == 0;
  if (args.kind == LockKind::kFlock && !whole) return Fail(Err::kInvalid);
  return Locks::Entry{.owner = {client, args.kind, std::string(args.owner)},
                      .ino = args.ino,
                      .exclusive = args.type == LockType::kExclusive,
                      .first = args.start,
                      .last = last,
                      .pid = args.pid,
                      .cookie = args.cookie};
}

template <typename List>
size_t Count(const List& list, auto matches) {
  return static_cast<size_t>(std::count_if(list.begin(), list.end(), matches));
}

}  // namespace

bool Locks::Conflict(const Entry& a, const Entry& b) {
  bool meet = a.ino == b.ino && a.first <= b.last && b.first <= a.last;
  bool kinds =
      KindOf(a) == KindOf(b) || KindOf(a) == LockKind::kNetwork || KindOf(b) == LockKind::kNetwork;
  return meet && kinds && a.owner != b.owner && (a.exclusive || b.exclusive);
}

std::vector<Locks::Entry> Locks::InTheWayOf(const Entry& wanted) const {
  std::vector<Entry> result;
  for (const Entry& entry : held)
    if (Conflict(entry, wanted)) result.push_back(entry);
  return result;
}

// What is held if the owner of `change` sets its range so, or frees it.
std::vector<Locks::Entry> Locks::With(const Entry& change, bool unlock) const {
  std::vector<Entry> others, own;
  for (const Entry& entry : held)
    (entry.owner == change.owner && entry.ino == change.ino ? own : others).push_back(entry);
  std::vector<Entry> cut;
  for (Entry entry : own) {
    Entry left = entry, right = entry;
    left.last = std::min(entry.last, change.first - 1);
    right.first = std::max(entry.first, change.last + 1);
    if (change.first > entry.first) cut.push_back(left);
    if (change.last < entry.last) cut.push_back(right);
  }
  if (!unlock) cut.push_back(change);
  std::sort(cut.begin(), cut.end(),
            [](const Entry& a, const Entry& b) { return a.first < b.first; });
  for (const Entry& entry : cut) {
    bool joins = !others.empty() && others.back().owner == entry.owner &&
                 others.back().ino == entry.ino && others.back().exclusive == entry.exclusive &&
                 others.back().last + 1 == entry.first;
    if (joins)
      others.back().last = entry.last;
    else
      others.push_back(entry);
  }
  return others;
}

bool Locks::WaitsFor(const Owner& waiter, const Owner& asker, std::vector<Owner>& seen) const {
  if (waiter == asker) return true;
  if (std::get<1>(waiter) == LockKind::kFlock) return false;
  if (std::find(seen.begin(), seen.end(), waiter) != seen.end()) return false;
  seen.push_back(waiter);
  for (const Entry& request : waiting) {
    if (request.owner != waiter) continue;
    for (const Entry& entry : InTheWayOf(request))
      if (WaitsFor(entry.owner, asker, seen)) return true;
  }
  return false;
}

bool Locks::Fits(const Entry& entry, size_t ranges, size_t requests) const {
  auto of_inode = [&](const Entry& e) { return e.ino == entry.ino; };
  auto of_client = [&](const Entry& e) { return ClientOf(e) == ClientOf(entry); };
  size_t more = ranges + requests;
  return Count(held, of_inode) + Count(waiting, of_inode) + more <= fs::kLocksPerInodeMax &&
         Count(held, of_client) + Count(waiting, of_client) + more <= fs::kLocksPerClientMax &&
         held.size() + waiting.size() + more <= fs::kLocksPerVolumeMax;
}

Status Locks::Set(const void* client, const fs::LockArgs& args) {
  PRISM_ASSIGN(Entry entry, EntryOf(client, args));
  bool unlock = args.type == LockType::kUnlock;
  std::vector<Entry> in_the_way = unlock ? std::vector<Entry>() : InTheWayOf(entry);
  if (in_the_way.empty()) {
    std::vector<Entry> result = With(entry, unlock);
    if (result.size() > held.size() && !Fits(entry, result.size() - held.size(), 0))
      return Fail(Err::kNoLocks);
    held = std::move(result);
    return {};
  }
  if (args.wait) {
    for (const Entry& request : waiting)
      if (ClientOf(request) == client && request.cookie == args.cookie) return Fail(Err::kInvalid);
    std::vector<Owner> seen;
    for (const Entry& other : in_the_way)
      if (args.kind != LockKind::kFlock && WaitsFor(other.owner, entry.owner, seen))
        return Fail(Err::kDeadlock);
    if (!Fits(entry, 0, 1)) return Fail(Err::kNoLocks);
    waiting.push_back(entry);
  }
  if (args.kind == LockKind::kFlock)
    std::erase_if(held, [&](const Entry& e) {
      return e.owner == entry.owner && e.ino == entry.ino && e.exclusive != entry.exclusive;
    });
  return Fail(Err::kAgain);
}

Result<std::optional<fs::LockHolder>> Locks::Test(const void* client,
                                                  const fs::LockArgs& args) const {
  PRISM_ASSIGN(Entry entry, EntryOf(client, args));
  if (args.type == LockType::kUnlock) return Fail(Err::kInvalid);
  std::vector<Entry> in_the_way = InTheWayOf(entry);
  if (in_the_way.empty()) return std::nullopt;
  const Entry& first =
      *std::min_element(in_the_way.begin(), in_the_way.end(),
                        [](const Entry& a, const Entry& b) { return a.first < b.first; });
  return fs::LockHolder{
      .kind = KindOf(first),
      .type = first.exclusive ? LockType::kExclusive : LockType::kShared,
      .start = first.first,
      .length = first.last == fs::kLockOffsetMax ? 0 : first.last - first.first + 1,
      .pid = first.pid,
      .own_client = ClientOf(first) == client,
      .owner = std::get<2>(first.owner)};
}

Status Locks::Cancel(const void* client, uint64_t cookie) {
  size_t count = std::erase_if(waiting, [&](const Entry& request) {
    return ClientOf(request) == client && request.cookie == cookie;
  });
  return count == 0 ? Status(Fail(Err::kNoEntry)) : Status();
}

void Locks::Drop(const void* client, InodeId ino, const std::string& prefix) {
  auto is_meant = [&](const Entry& entry) {
    return ClientOf(entry) == client && (ino == 0 || entry.ino == ino) &&
           std::get<2>(entry.owner).starts_with(prefix);
  };
  std::erase_if(held, is_meant);
  std::erase_if(waiting, is_meant);
}

std::vector<Locks::Entry> Locks::GrantWhatCan() {
  std::vector<Entry> granted;
  for (size_t i = 0; i < waiting.size();) {
    if (!InTheWayOf(waiting[i]).empty()) {
      ++i;
      continue;
    }
    granted.push_back(waiting[i]);
    held = With(waiting[i], false);
    waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(i));
    i = 0;
  }
  return granted;
}

}  // namespace prism::model
