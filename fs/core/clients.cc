#include "fs/core/clients.h"

#include <algorithm>

namespace prism::fs {

ClientId Clients::Attach(bool holds_orphans) {
  std::unique_lock lock(mutex_);
  clients_.push_back(Client{next_, holds_orphans, nullptr});
  count_.store(static_cast<uint32_t>(clients_.size()), std::memory_order_relaxed);
  return next_++;
}

void Clients::Detach(ClientId id) {
  std::unique_lock lock(mutex_);
  std::erase_if(clients_, [&](const Client& client) { return client.id == id; });
  count_.store(static_cast<uint32_t>(clients_.size()), std::memory_order_relaxed);
  std::lock_guard barriers_lock(barriers_mutex_);
  for (auto& [cookie, waiting] : barriers_) waiting.silent.erase(id);
  answered_.notify_all();
}

void Clients::SetListener(ClientId id, EventListener* listener) {
  std::unique_lock lock(mutex_);
  for (Client& client : clients_)
    if (client.id == id) client.listener = listener;
}

std::vector<ClientId> Clients::Holders() const {
  std::shared_lock lock(mutex_);
  std::vector<ClientId> ids;
  ids.reserve(clients_.size());
  for (const Client& client : clients_)
    if (client.holds_orphans) ids.push_back(client.id);
  return ids;
}

void Clients::Tell(ClientId self, Event::Kind kind, InodeId ino, std::string_view name) {
  std::shared_lock lock(mutex_);
  const Event event{kind, ino, std::string(name)};
  for (const Client& client : clients_)
    if (client.id != self && client.listener != nullptr) client.listener->OnEvent(event);
}

void Clients::TellGranted(ClientId id, InodeId ino, uint64_t cookie) {
  std::shared_lock lock(mutex_);
  const Event event{Event::Kind::kLockGranted, ino, {}, cookie};
  for (const Client& client : clients_)
    if (client.id == id && client.listener != nullptr) client.listener->OnEvent(event);
}

BarrierResult Clients::Barrier(std::chrono::milliseconds timeout) {
  BarrierResult result;
  uint64_t cookie = 0;
  {
    std::shared_lock lock(mutex_);
    std::vector<EventListener*> asked;
    Waiting waiting;
    for (const Client& client : clients_) {
      if (client.listener != nullptr && client.listener->AnswersBarriers()) {
        asked.push_back(client.listener);
        waiting.silent.insert(client.id);
      } else {
        ++(client.holds_orphans ? result.mute : result.network);
      }
    }
    result.asked = static_cast<uint32_t>(asked.size());
    {
      std::lock_guard barriers_lock(barriers_mutex_);
      cookie = next_barrier_++;
      barriers_.emplace(cookie, std::move(waiting));
    }
    for (EventListener* listener : asked) listener->OnEvent({Event::Kind::kBarrier, 0, {}, cookie});
  }
  std::unique_lock lock(barriers_mutex_);
  Waiting& waiting = barriers_.at(cookie);
  answered_.wait_for(lock, timeout, [&] { return waiting.silent.empty(); });
  result.late = static_cast<uint32_t>(waiting.silent.size());
  result.failed = waiting.failed;
  barriers_.erase(cookie);
  return result;
}

Status Clients::AnswerBarrier(ClientId client, uint64_t cookie, bool written) {
  std::lock_guard lock(barriers_mutex_);
  auto found = barriers_.find(cookie);
  if (found == barriers_.end() || found->second.silent.erase(client) == 0)
    return Fail(Err::kNoEntry);
  found->second.failed += !written;
  answered_.notify_all();
  return {};
}

}  // namespace prism::fs
