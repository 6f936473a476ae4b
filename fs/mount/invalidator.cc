#include "fs/mount/invalidator.h"

#include <utility>

namespace prism::mount {

Invalidator::Invalidator(LookupTable& lookups, InvalidatorHooks hooks)
    : lookups_(lookups), hooks_(std::move(hooks)), thread_([this] { Run(); }) {}

Invalidator::~Invalidator() { Stop(); }

void Invalidator::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Invalidator::OnEvent(const fs::Event& event) {
  // A process waits for it: not behind notices to the kernel.
  if (event.kind == fs::Event::Kind::kLockGranted) return hooks_.lock_granted(event.cookie);
  {
    std::lock_guard lock(mutex_);
    if (event.kind == fs::Event::Kind::kOrphaned) {
      if (lookups_.MarkOrphaned(event.ino)) waiting_.unused.push_back(event.ino);
    }
    if (event.kind == fs::Event::Kind::kBarrier) {
      if (waiting_.barriers.size() < kBarriersMax) waiting_.barriers.push_back(event.cookie);
    } else if (event.kind == fs::Event::Kind::kAll || waiting_.events.size() >= kEventsMax) {
      waiting_.all = true;
      waiting_.events.clear();
    } else if (!waiting_.all && !RepeatsLast(event)) {
      waiting_.events.push_back(event);
    }
  }
  wake_.notify_one();
}

// A writer elsewhere makes one event per write: those that wait already say it.
bool Invalidator::RepeatsLast(const fs::Event& event) const {
  if (waiting_.events.empty()) return false;
  const fs::Event& last = waiting_.events.back();
  return last.kind == event.kind && last.ino == event.ino && last.name == event.name;
}

void Invalidator::ReleaseLater(InodeId ino) {
  {
    std::lock_guard lock(mutex_);
    waiting_.releases.push_back(ino);
  }
  wake_.notify_one();
}

void Invalidator::Orphaned(InodeId ino) {
  if (!lookups_.MarkOrphaned(ino)) return;
  {
    std::lock_guard lock(mutex_);
    waiting_.unused.push_back(ino);
  }
  wake_.notify_one();
}

void Invalidator::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    Work work = std::exchange(waiting_, Work{});
    lock.unlock();
    Process(work);
    lock.lock();
  }
}

void Invalidator::Process(Work& work) {
  if (work.all) TellAll();
  for (const fs::Event& event : work.events) Tell(event);
  if (!work.unused.empty()) {
    hooks_.wait_quiescent();
    for (InodeId ino : work.unused)
      if (lookups_.TakeUnused(ino)) work.releases.push_back(ino);
  }
  for (InodeId ino : work.releases) hooks_.release(ino);
  for (uint64_t cookie : work.barriers) hooks_.pass_barrier(cookie);
}

void Invalidator::Tell(const fs::Event& event) {
  switch (event.kind) {
    case fs::Event::Kind::kInode:
      hooks_.drop_inode(event.ino);
      break;
    case fs::Event::Kind::kEntry:
      hooks_.drop_entry(event.ino, event.name);
      hooks_.drop_inode(event.ino);
      break;
    case fs::Event::Kind::kOrphaned:
      hooks_.drop_attributes(event.ino);
      break;
    case fs::Event::Kind::kAll:
      TellAll();
      break;
    case fs::Event::Kind::kLockGranted:
    case fs::Event::Kind::kBarrier:
      break;  // are not among these
  }
}

void Invalidator::TellAll() {
  hooks_.drop_all_entries();
  hooks_.drop_inode(kRootInode);
  for (InodeId ino : lookups_.Inodes()) hooks_.drop_inode(ino);
  hooks_.ask_for_locks();
}

}  // namespace prism::mount
