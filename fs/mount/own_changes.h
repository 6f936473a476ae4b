// What the mount itself has just changed, for the questions that the kernel asks next.
//
// After it has made, removed or renamed an entry, the kernel no longer believes the directory's
// attributes, and asks for them before its next permission check there, though the operation's
// reply had them; and before the first write to each file it asks for the file's capabilities,
// though it has just made the file. Both are answered from here, which spares the way to the
// server.
//
// As in the kernel's own cache, what is known ends when the server tells of a foreign change, and
// here also after kValidMs. An entry is believed only if nothing else of ours was under way with
// its inode between the question to the server and its answer: one of two may be the older.
//
// THREADS: any.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

#include "fs/contract/file_system.h"

namespace prism::mount {

class OwnChanges {
 public:
  static constexpr int64_t kValidMs = 1000;

  // An own operation that changes `ino` begins: what was known ends. Its ticket is for Tell.
  uint64_t Begin(InodeId ino) {
    Slot& slot = SlotOf(ino);
    std::lock_guard lock(slot.mutex);
    return slot.End();
  }
  // It has returned these attributes of `ino`.
  void Tell(InodeId ino, uint64_t ticket, const fs::Attr& attr) {
    Slot& slot = SlotOf(ino);
    std::lock_guard lock(slot.mutex);
    if (slot.turn != ticket || attr.ino != ino) {
      slot.End();
      return;
    }
    slot.attr = attr;
    slot.until_ms = NowMs() + kValidMs;
  }
  // An own operation has made this file, which has no extended attribute but inherited ACLs.
  void Made(InodeId ino) {
    Slot& slot = SlotOf(ino);
    std::lock_guard lock(slot.mutex);
    slot.End();
    slot.made = ino;
    slot.until_ms = NowMs() + kValidMs;
  }
  // `ino` changes in another way, or is changed by others.
  void Forget(InodeId ino) { (void)Begin(ino); }
  void ForgetAll() {
    for (Slot& slot : slots_) {
      std::lock_guard lock(slot.mutex);
      slot.End();
    }
  }
  void OnEvent(const fs::Event& event) {
    event.kind == fs::Event::Kind::kAll ? ForgetAll() : Forget(event.ino);
  }

  std::optional<fs::Attr> AttrOf(InodeId ino) {
    Slot& slot = SlotOf(ino);
    std::lock_guard lock(slot.mutex);
    if (slot.attr.ino != ino || NowMs() > slot.until_ms) return std::nullopt;
    return slot.attr;
  }
  // True: it certainly has no security.capability.
  bool HasNoCapability(InodeId ino) {
    Slot& slot = SlotOf(ino);
    std::lock_guard lock(slot.mutex);
    return slot.made == ino && NowMs() <= slot.until_ms;
  }

 private:
  static constexpr size_t kSlots = 256;
  struct alignas(64) Slot {
    std::mutex mutex;
    uint64_t turn = 0;  // counts what ended
    int64_t until_ms = 0;
    InodeId made = 0;
    fs::Attr attr;  // ino 0: unknown

    uint64_t End() {
      made = 0;
      attr.ino = 0;
      return ++turn;
    }
  };
  static int64_t NowMs() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  Slot& SlotOf(InodeId ino) { return slots_[ino % kSlots]; }

  std::array<Slot, kSlots> slots_;
};

}  // namespace prism::mount
