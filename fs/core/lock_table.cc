#include "fs/core/lock_table.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "fs/base/check.h"
#include "fs/contract/limits.h"

namespace prism::fs {
namespace {

constexpr size_t kKeyHead = sizeof(ClientId) + 1;
// Owners looked at in search of a circle; longer ones are not found.
constexpr size_t kOwnersSearchedMax = 4096;

bool SeeEachOther(LockKind a, LockKind b) {
  return a == b || a == LockKind::kNetwork || b == LockKind::kNetwork;
}

}  // namespace

std::string_view LockTable::Owner::bytes() const { return std::string_view(key).substr(kKeyHead); }

Status LockTable::Check(const LockArgs& args) {
  if (args.owner.size() > kLockOwnerMax || args.kind > LockKind::kNetwork ||
      args.type > LockType::kExclusive)
    return Fail(Err::kInvalid);
  if (args.start > kLockOffsetMax || args.length > kLockOffsetMax - args.start + 1)
    return Fail(Err::kInvalid);
  if (args.kind == LockKind::kFlock && (args.start != 0 || args.length != 0))
    return Fail(Err::kInvalid);
  return {};
}

LockTable::Span LockTable::SpanOf(const LockArgs& args) {
  const uint64_t last = args.length == 0 ? kLockOffsetMax : args.start + args.length - 1;
  return {.type = args.type, .first = args.start, .last = last, .pid = args.pid};
}

std::string LockTable::KeyOf(ClientId client, LockKind kind, std::string_view bytes) {
  std::string key(kKeyHead, '\0');
  std::memcpy(key.data(), &client, sizeof client);
  key[sizeof client] = static_cast<char>(kind);
  return key.append(bytes);
}

bool LockTable::Conflict(const Range& held, const Owner& owner, const Span& span) {
  if (held.owner == &owner || held.span.last < span.first || span.last < held.span.first)
    return false;
  if (held.span.type == LockType::kShared && span.type == LockType::kShared) return false;
  return SeeEachOther(held.owner->kind, owner.kind);
}

const LockTable::Range* LockTable::FindConflict(const Inode& inode, const Owner& owner,
                                                const Span& span) {
  const Range* first = nullptr;
  for (const Range& held : inode.held)
    if (Conflict(held, owner, span) && (first == nullptr || held.span.first < first->span.first))
      first = &held;
  return first;
}

// What is held when `owner` has set `span`.
std::vector<LockTable::Range> LockTable::Carve(const Inode& inode, Owner& owner, const Span& span) {
  std::vector<Range> result;
  result.reserve(inode.held.size() + 2);
  Span joined = span;
  for (const Range& held : inode.held) {
    const Span& old = held.span;
    const bool overlaps = old.first <= span.last && span.first <= old.last;
    const bool touches = overlaps || old.last + 1 == span.first || span.last + 1 == old.first;
    if (held.owner != &owner || !touches) {
      result.push_back(held);
    } else if (old.type == span.type) {
      joined.first = std::min(joined.first, old.first);
      joined.last = std::max(joined.last, old.last);
    } else if (!overlaps) {
      result.push_back(held);
    } else {
      if (old.first < span.first)
        result.push_back({&owner, {old.type, old.first, span.first - 1, old.pid}});
      if (old.last > span.last)
        result.push_back({&owner, {old.type, span.last + 1, old.last, old.pid}});
    }
  }
  if (span.type != LockType::kUnlock) result.push_back({&owner, joined});
  return result;
}

LockTable::Owner& LockTable::Intern(ClientId client, LockKind kind, std::string_view bytes) {
  std::string key = KeyOf(client, kind, bytes);
  std::unique_ptr<Owner>& owner = owners_[key];
  if (owner == nullptr) {
    owner = std::make_unique<Owner>();
    owner->client = client;
    owner->kind = kind;
    owner->key = std::move(key);
  }
  return *owner;
}

void LockTable::Use(Owner& owner, ptrdiff_t count) {
  owner.uses += static_cast<size_t>(count);
  Client& client = clients_[owner.client];
  client.size += static_cast<size_t>(count);
  size_.store(size_.load(std::memory_order_relaxed) + static_cast<size_t>(count),
              std::memory_order_relaxed);
  if (client.size == 0) clients_.erase(owner.client);
  if (owner.uses == 0) owners_.erase(std::string(owner.key));
}

void LockTable::Hold(Owner& owner, ptrdiff_t count) {
  Client& client = clients_[owner.client];
  const bool held = client.held > 0;
  client.held += static_cast<size_t>(count);
  const bool holds = client.held > 0;
  Use(owner, count);
  if (holds == held) return;
  holders_ = holds ? holders_ + 1 : holders_ - 1;
  memory_.SetHolders(volume_, holders_);
}

bool LockTable::IsHeldBack(const LockArgs& args) const {
  return args.reclaim == Reclaim::kNo && memory_.Awaited(volume_) > 0;
}

Status LockTable::CheckRoom(const Inode& inode, const Owner& owner, size_t more) const {
  auto client = clients_.find(owner.client);
  const size_t of_client = client == clients_.end() ? 0 : client->second.size;
  if (inode.size() + more > kLocksPerInodeMax || of_client + more > kLocksPerClientMax ||
      size() + more > kLocksPerVolumeMax)
    return Fail(Err::kNoLocks);
  return {};
}

void LockTable::Install(Inode& inode, Owner& owner, std::vector<Range> held) {
  const auto before = static_cast<ptrdiff_t>(inode.held.size());
  inode.held = std::move(held);
  Hold(owner, static_cast<ptrdiff_t>(inode.held.size()) - before);
}

Status LockTable::Set(ClientId client, const LockArgs& args, Grants& grants) {
  PRISM_TRY(Check(args));
  std::lock_guard lock(mutex_);
  if (args.type == LockType::kUnlock && !inodes_.contains(args.ino)) return {};
  Inode& inode = inodes_[args.ino];
  Owner& owner = Intern(client, args.kind, args.owner);
  ++owner.uses;  // it stays while we look at it
  Status status = SetLocked(inode, owner, args, grants);
  if (--owner.uses == 0) owners_.erase(std::string(owner.key));
  if (inode.size() == 0) inodes_.erase(args.ino);
  if (args.reclaim == Reclaim::kLast && memory_.Returned(volume_) == 0) WakeAll(grants);
  return status;
}

void LockTable::EndGrace(Grants& grants) {
  std::lock_guard lock(mutex_);
  WakeAll(grants);
}

Status LockTable::SetLocked(Inode& inode, Owner& owner, const LockArgs& args, Grants& grants) {
  const Span span = SpanOf(args);
  if (span.type != LockType::kUnlock &&
      (IsHeldBack(args) || FindConflict(inode, owner, span) != nullptr)) {
    Status queued = Fail(Err::kAgain);
    if (args.wait) queued = Queue(inode, owner, args);
    if (queued.error() == Err::kAgain && args.kind == LockKind::kFlock)
      GiveUpFlock(inode, owner, span.type, grants, args.ino);
    return queued;
  }
  std::vector<Range> held = Carve(inode, owner, span);
  const bool had = std::any_of(inode.held.begin(), inode.held.end(),
                               [&](const Range& range) { return range.owner == &owner; });
  if (held.size() > inode.held.size())
    PRISM_TRY(CheckRoom(inode, owner, held.size() - inode.held.size()));
  Install(inode, owner, std::move(held));
  if (had) Wake(args.ino, inode, grants);
  return {};
}

void LockTable::GiveUpFlock(Inode& inode, Owner& owner, LockType wanted, Grants& grants,
                            InodeId ino) {
  auto old = std::find_if(inode.held.begin(), inode.held.end(),
                          [&](const Range& range) { return range.owner == &owner; });
  if (old == inode.held.end() || old->span.type == wanted) return;
  inode.held.erase(old);
  Hold(owner, -1);
  Wake(ino, inode, grants);
}

// kAgain: it waits.
Status LockTable::Queue(Inode& inode, Owner& owner, const LockArgs& args) {
  const Span span = SpanOf(args);
  auto client = clients_.find(owner.client);
  if (client != clients_.end() && client->second.waiting.contains(args.cookie))
    return Fail(Err::kInvalid);
  if (owner.kind != LockKind::kFlock && ClosesCircle(inode, owner, span))
    return Fail(Err::kDeadlock);
  PRISM_TRY(CheckRoom(inode, owner, 1));
  inode.waiting.push_back({&owner, span, args.ino, args.cookie});
  owner.waiters.push_back(&inode.waiting.back());
  Use(owner, 1);
  clients_[owner.client].waiting[args.cookie] = args.ino;
  return Fail(Err::kAgain);
}

bool LockTable::ClosesCircle(const Inode& inode, const Owner& asker, const Span& span) const {
  std::vector<const Owner*> stack;
  std::unordered_set<const Owner*> seen;
  auto add_those_in_the_way = [&](const Inode& of, const Owner& owner, const Span& wanted) {
    for (const Range& held : of.held)
      if (Conflict(held, owner, wanted) && seen.insert(held.owner).second)
        stack.push_back(held.owner);
  };
  add_those_in_the_way(inode, asker, span);
  while (!stack.empty() && seen.size() <= kOwnersSearchedMax) {
    const Owner* owner = stack.back();
    stack.pop_back();
    if (owner == &asker) return true;
    if (owner->kind == LockKind::kFlock) continue;
    for (const Waiter* waiter : owner->waiters)
      add_those_in_the_way(inodes_.at(waiter->ino), *owner, waiter->span);
  }
  return false;
}

void LockTable::Unqueue(Inode& inode, std::list<Waiter>::iterator waiter) {
  Owner& owner = *waiter->owner;
  std::erase(owner.waiters, &*waiter);
  clients_.at(owner.client).waiting.erase(waiter->cookie);
  inode.waiting.erase(waiter);
  Use(owner, -1);
}

void LockTable::Wake(InodeId ino, Inode& inode, Grants& grants) {
  if (memory_.Awaited(volume_) > 0) return;
  for (auto waiter = inode.waiting.begin(); waiter != inode.waiting.end();) {
    auto next = std::next(waiter);
    Owner& owner = *waiter->owner;
    if (FindConflict(inode, owner, waiter->span) == nullptr) {
      grants.push_back({owner.client, ino, waiter->cookie});
      const bool had = std::any_of(inode.held.begin(), inode.held.end(),
                                   [&](const Range& range) { return range.owner == &owner; });
      Install(inode, owner, Carve(inode, owner, waiter->span));
      Unqueue(inode, waiter);
      // It may have lowered what it had: those before it are looked at again.
      if (had) next = inode.waiting.begin();
    }
    waiter = next;
  }
}

void LockTable::WakeAll(Grants& grants) {
  for (auto& [ino, inode] : inodes_) Wake(ino, inode, grants);
}

Result<std::optional<LockHolder>> LockTable::Test(ClientId client, const LockArgs& args) const {
  PRISM_TRY(Check(args));
  if (args.type == LockType::kUnlock) return Fail(Err::kInvalid);
  std::lock_guard lock(mutex_);
  auto inode = inodes_.find(args.ino);
  if (inode == inodes_.end()) return std::nullopt;
  auto known = owners_.find(KeyOf(client, args.kind, args.owner));
  Owner stranger;
  stranger.kind = args.kind;
  const Owner& owner = known == owners_.end() ? stranger : *known->second;
  const Range* range = FindConflict(inode->second, owner, SpanOf(args));
  if (range == nullptr) return std::nullopt;
  const Span& span = range->span;
  return LockHolder{.kind = range->owner->kind,
                    .type = span.type,
                    .start = span.first,
                    .length = span.last == kLockOffsetMax ? 0 : span.last - span.first + 1,
                    .pid = span.pid,
                    .own_client = range->owner->client == client,
                    .owner = std::string(range->owner->bytes())};
}

Status LockTable::Cancel(ClientId client, uint64_t cookie) {
  std::lock_guard lock(mutex_);
  auto found = clients_.find(client);
  if (found == clients_.end()) return Fail(Err::kNoEntry);
  auto request = found->second.waiting.find(cookie);
  if (request == found->second.waiting.end()) return Fail(Err::kNoEntry);
  const InodeId ino = request->second;
  Inode& inode = inodes_.at(ino);
  auto waiter =
      std::find_if(inode.waiting.begin(), inode.waiting.end(), [&](const Waiter& candidate) {
        return candidate.cookie == cookie && candidate.owner->client == client;
      });
  PRISM_CHECK(waiter != inode.waiting.end());
  Unqueue(inode, waiter);
  if (inode.size() == 0) inodes_.erase(ino);
  return {};
}

void LockTable::DropOf(InodeId ino, Inode& inode, std::string_view client, std::string_view prefix,
                       Grants& grants) {
  auto is_meant = [&](const Owner& owner) {
    return owner.key.starts_with(client) && owner.bytes().starts_with(prefix);
  };
  for (auto waiter = inode.waiting.begin(); waiter != inode.waiting.end();) {
    auto next = std::next(waiter);
    if (is_meant(*waiter->owner)) Unqueue(inode, waiter);
    waiter = next;
  }
  std::vector<Owner*> gone;
  std::erase_if(inode.held, [&](const Range& range) {
    if (!is_meant(*range.owner)) return false;
    gone.push_back(range.owner);
    return true;
  });
  for (Owner* owner : gone) Hold(*owner, -1);
  if (!gone.empty()) Wake(ino, inode, grants);
}

void LockTable::Drop(ClientId client, InodeId ino, std::string_view owner_prefix, Grants& grants) {
  if (size() == 0) return;
  const std::string key = KeyOf(client, LockKind::kPosix, {}).substr(0, sizeof client);
  std::lock_guard lock(mutex_);
  auto drop = [&](auto inode) {
    DropOf(inode->first, inode->second, key, owner_prefix, grants);
    return inode->second.size() == 0 ? inodes_.erase(inode) : std::next(inode);
  };
  if (ino == 0) {
    for (auto inode = inodes_.begin(); inode != inodes_.end();) inode = drop(inode);
  } else if (auto inode = inodes_.find(ino); inode != inodes_.end()) {
    drop(inode);
  }
}

}  // namespace prism::fs
