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

}  // namespace prism::fs
