#include "server/rpc/connection_table.h"

#include <spdlog/spdlog.h>

#include <set>

namespace prism::rpc {

void ConnectionTable::Add(UniqueFd fd, const PeerAddress& peer, int epoll_fd,
                          std::shared_ptr<Connection>& evicted) {
  std::shared_ptr<Client> client = clients_.Get(peer);
  std::shared_ptr<Connection> connection;
  {
    std::lock_guard lock(mutex_);
    const bool client_full = client->connections() >= options_.connections_per_client_max;
    if (client_full) evicted = LongestIdleLocked(*client);
    if ((client_full && evicted == nullptr) || connections_.size() >= options_.connections_max) {
      counters_.connections_refused.Add();
      if (auto left_out = log_.Allow(CoarseNowNs()))
        spdlog::warn(
            "rpc: a connection of {} refused: {} are open, {} of them its own (and {} more)",
            peer.Text(), connections_.size(), client->connections().load(), *left_out);
      return;
    }
    connection =
        std::make_shared<Connection>(next_id_++, std::move(fd), peer, std::move(client), epoll_fd,
                                     options_.record_max_bytes, patience_, counters_.bytes_out);
    connections_[connection->id()] = connection;
  }
  counters_.connections_accepted.Add();
  SetConnectionOptions(connection->fd());
  if (!connection->Watch()) Remove(connection->id());
}

std::shared_ptr<Connection> ConnectionTable::LongestIdleLocked(const Client& client) const {
  std::shared_ptr<Connection> best;
  for (const auto& [id, connection] : connections_) {
    if (connection->client().get() != &client || connection->calls() > 0) continue;
    if (best == nullptr || connection->last_read_ns() < best->last_read_ns()) best = connection;
  }
  return best;
}

std::shared_ptr<Connection> ConnectionTable::Find(uint64_t id) const {
  std::lock_guard lock(mutex_);
  auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second;
}

void ConnectionTable::Remove(uint64_t id) {
  std::shared_ptr<Connection> gone;  // goes after the lock
  std::lock_guard lock(mutex_);
  auto found = connections_.find(id);
  if (found == connections_.end()) return;
  gone = std::move(found->second);
  connections_.erase(found);
}

std::vector<std::shared_ptr<Connection>> ConnectionTable::All() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Connection>> all;
  all.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) all.push_back(connection);
  return all;
}

size_t ConnectionTable::size() const {
  std::lock_guard lock(mutex_);
  return connections_.size();
}

size_t ConnectionTable::clients() const {
  std::lock_guard lock(mutex_);
  std::set<const Client*> clients;
  for (const auto& [id, connection] : connections_) clients.insert(connection->client().get());
  return clients.size();
}

}  // namespace prism::rpc
