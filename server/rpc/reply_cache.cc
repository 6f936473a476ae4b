#include "server/rpc/reply_cache.h"

#include <sys/random.h>
#include <xxhash.h>

#include <algorithm>

#include "fs/base/check.h"
#include "server/rpc/connection.h"

namespace prism::rpc {
namespace {

uint64_t RandomSeed() {
  uint64_t seed = 0;
  PRISM_CHECK(::getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return seed;
}

}  // namespace

// Seeded, so that nobody can choose calls that end in one bucket.
size_t ReplyCache::HashId::operator()(const CallId& id) const {
  const uint64_t words[2] = {id.client, uint64_t{id.xid} << 32 | id.checksum};
  return XXH3_64bits_withSeed(words, sizeof words, seed);
}

ReplyCache::ReplyCache(const ReplyCacheLimits& limits)
    : limits_(limits), entries_(64, HashId{RandomSeed()}) {}

// The newest connection, not the latest call: what an older one had still to read is handled later.
ReplyCache::Found ReplyCache::Known(Entry& entry, const std::shared_ptr<Connection>& connection) {
  if (entry.reply != nullptr) return {State::kDone, entry.reply};
  const std::shared_ptr<Connection> other = entry.newest.lock();
  if (connection != nullptr && (other == nullptr || connection->id() > other->id()))
    entry.newest = connection;
  return {State::kRunning, nullptr};
}

ReplyCache::Found ReplyCache::Look(const CallId& id,
                                   const std::shared_ptr<Connection>& connection) {
  std::lock_guard lock(mutex_);
  auto found = entries_.find(id);
  if (found == entries_.end()) return {};
  return Known(found->second, connection);
}

ReplyCache::Found ReplyCache::Begin(const CallId& id,
                                    const std::shared_ptr<Connection>& connection) {
  std::lock_guard lock(mutex_);
  auto [found, inserted] = entries_.try_emplace(id);
  if (inserted) return {};
  return Known(found->second, connection);
}

std::shared_ptr<Connection> ReplyCache::Finish(const CallId& id, Bytes reply) {
  std::lock_guard lock(mutex_);
  auto found = entries_.find(id);
  PRISM_CHECK(found != entries_.end() && found->second.reply == nullptr);
  std::shared_ptr<Connection> newest = found->second.newest.lock();
  if (reply == nullptr || SizeOf(reply) > limits_.client_bytes_max) {
    entries_.erase(found);
    return newest;
  }
  auto client = clients_.try_emplace(id.client).first;
  client->second.bytes += SizeOf(reply);
  bytes_ += SizeOf(reply);
  ++answered_;
  client->second.answered.push_back(id);
  found->second.newest.reset();
  found->second.reply = std::move(reply);
  MakeRoomLocked(client);
  return newest;
}

void ReplyCache::MakeRoomLocked(Clients::iterator client) {
  while (client->second.answered.size() > limits_.client_entries_max ||
         client->second.bytes > limits_.client_bytes_max)
    ForgetOldestLocked(client);
  if (answered_ <= limits_.entries_max && bytes_ <= limits_.bytes_max) return;
  const bool by_bytes = bytes_ > limits_.bytes_max;
  auto most = std::max_element(clients_.begin(), clients_.end(), [&](const auto& a, const auto& b) {
    return by_bytes ? a.second.bytes < b.second.bytes
                    : a.second.answered.size() < b.second.answered.size();
  });
  // A part of them, so that the search is rare.
  for (size_t left = most->second.answered.size() / 8 + 1; left > 0; --left) {
    const bool last = most->second.answered.size() == 1;
    ForgetOldestLocked(most);
    if (last) break;
  }
}

void ReplyCache::ForgetOldestLocked(Clients::iterator client) {
  auto oldest = entries_.find(client->second.answered.front());
  client->second.bytes -= SizeOf(oldest->second.reply);
  bytes_ -= SizeOf(oldest->second.reply);
  --answered_;
  entries_.erase(oldest);
  client->second.answered.pop_front();
  if (client->second.answered.empty()) clients_.erase(client);
}

size_t ReplyCache::entries() const {
  std::lock_guard lock(mutex_);
  return answered_;
}

size_t ReplyCache::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace prism::rpc
