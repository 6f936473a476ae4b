#include "server/rpc/blocking_gate.h"

#include <algorithm>

#include "fs/base/check.h"

namespace prism::rpc {

bool BlockingGate::EnterLocked(const Client& client) {
  if (inside_ >= overall_max_) return false;
  Line& line = lines_[&client];
  if (line.inside >= client_max_) return false;
  ++line.inside;
  ++inside_;
  return true;
}

bool BlockingGate::TryEnter(const Client& client) {
  std::lock_guard lock(mutex_);
  return turns_.empty() ? EnterLocked(client) : false;
}

bool BlockingGate::EnterOrWait(const std::shared_ptr<Connection>& connection) {
  const Client& client = *connection->client();
  std::lock_guard lock(mutex_);
  Line& line = lines_[&client];
  // Nobody overtakes those of its own client; whoever else waits does so for its own bound, or for
  // the overall one.
  if (line.waiting.empty() && EnterLocked(client)) return true;
  if (line.waiting.empty()) turns_.push_back(&client);
  line.waiting.push_back(connection);
  return false;
}

// The first of the client whose turn it is, among those that may enter.
std::shared_ptr<Connection> BlockingGate::NextLocked() {
  for (auto turn = turns_.begin(); turn != turns_.end(); ++turn) {
    const Client* client = *turn;
    if (!EnterLocked(*client)) continue;
    Line& line = lines_[client];
    std::shared_ptr<Connection> next = std::move(line.waiting.front());
    line.waiting.pop_front();
    turns_.erase(turn);
    if (!line.waiting.empty()) turns_.push_back(client);
    return next;
  }
  return nullptr;
}

void BlockingGate::Leave(const Client& client) {
  const Client* leaving = &client;
  std::shared_ptr<Connection> next;  // keeps its client alive
  do {
    std::shared_ptr<Connection> refused = std::move(next);
    {
      std::lock_guard lock(mutex_);
      auto line = lines_.find(leaving);
      PRISM_CHECK(line != lines_.end() && line->second.inside > 0 && inside_ > 0);
      --line->second.inside;
      --inside_;
      if (line->second.inside == 0 && line->second.waiting.empty()) lines_.erase(line);
      next = NextLocked();
    }
    if (next == nullptr) return;
    leaving = next->client().get();
  } while (!next->Grant());
}

void BlockingGate::Forget(const Connection& connection) {
  std::shared_ptr<Connection> gone;  // goes after the lock
  const Client* client = connection.client().get();
  std::lock_guard lock(mutex_);
  auto line = lines_.find(client);
  if (line == lines_.end()) return;
  std::deque<std::shared_ptr<Connection>>& waiting = line->second.waiting;
  auto found = std::find_if(waiting.begin(), waiting.end(),
                            [&](const auto& other) { return other.get() == &connection; });
  if (found == waiting.end()) return;
  gone = std::move(*found);
  waiting.erase(found);
  if (waiting.empty()) turns_.remove(client);
  if (waiting.empty() && line->second.inside == 0) lines_.erase(line);
}

uint32_t BlockingGate::inside() const {
  std::lock_guard lock(mutex_);
  return inside_;
}

uint32_t BlockingGate::waiting() const {
  std::lock_guard lock(mutex_);
  uint32_t count = 0;
  for (const auto& [client, line] : lines_) count += static_cast<uint32_t>(line.waiting.size());
  return count;
}

}  // namespace prism::rpc
