// The thread of a mount that is not serving a request: it tells the kernel what others have
// changed, and releases orphaned inodes.
//
// Telling the kernel can wait for locks that a request in service holds, so it must not happen on a
// session thread. The kernel drops replies that were under way when the notice came (attributes by
// version, pages by their lock, entries by the directory's lock), so nothing stale stays.
//
// BOUNDS: more than kEventsMax events waiting become one Event::kAll. Orphans are never dropped:
// they are 8 bytes each and the server holds far more for each of them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "fs/contract/file_system.h"
#include "fs/mount/lookup_table.h"

namespace prism::mount {

// The kernel's side, and what of the session the thread needs. All may be called until Stop
// returns.
struct InvalidatorHooks {
  std::function<void(InodeId)> drop_inode;       // attributes and data
  std::function<void(InodeId)> drop_attributes;  // attributes only
  std::function<void(InodeId dir, const std::string& name)> drop_entry;
  std::function<void()> drop_all_entries;
  std::function<void()> wait_quiescent;  // until every request in service at the call has ended
  std::function<void(InodeId)> release;  // FileSystem::Release
  std::function<void(uint64_t cookie)> lock_granted;  // within OnEvent
  std::function<void(uint64_t cookie)> pass_barrier;  // write back, and answer
  std::function<void()> ask_for_locks;                // which may have been granted unheard
};

class Invalidator : public fs::EventListener {
 public:
  static constexpr size_t kEventsMax = 16384;
  static constexpr size_t kBarriersMax = 64;  // that wait; more are not answered

  Invalidator(LookupTable& lookups, InvalidatorHooks hooks);
  ~Invalidator() override;  // Stop

  void OnEvent(const fs::Event& event) override;
  bool AnswersBarriers() const override { return true; }

  // `ino` was forgotten by the kernel and is held by us alone.
  void ReleaseLater(InodeId ino);
  // An own operation took the last link of `ino`.
  void Orphaned(InodeId ino);

  // Everything that was waiting is done; nothing happens afterwards.
  void Stop();

 private:
  struct Work {
    bool all = false;
    std::vector<fs::Event> events;
    std::vector<InodeId> unused;  // MarkOrphaned said that no reference is counted
    std::vector<InodeId> releases;
    std::vector<uint64_t> barriers;  // cookies
    bool empty() const {
      return !all && events.empty() && unused.empty() && releases.empty() && barriers.empty();
    }
  };

  bool RepeatsLast(const fs::Event& event) const;
  void Run();
  void Process(Work& work);
  void Tell(const fs::Event& event);
  void TellAll();

  LookupTable& lookups_;
  InvalidatorHooks hooks_;
  std::mutex mutex_;
  std::condition_variable wake_;
  Work waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace prism::mount
