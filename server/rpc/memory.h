// What requests and replies may hold in memory, per client address and overall.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "server/rpc/program.h"

namespace prism::rpc {

// Bytes against a bound. THREADS: any.
class Budget {
 public:
  explicit Budget(uint64_t max_bytes) : max_bytes_(max_bytes) {}

  bool TryCharge(uint64_t bytes) {
    if (used_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= max_bytes_) return true;
    Release(bytes);
    return false;
  }
  // For what is there already: may exceed the bound, after which nothing else is let in.
  void Charge(uint64_t bytes) { used_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void Release(uint64_t bytes) { used_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
  bool full() const { return used_bytes() >= max_bytes_; }
  uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

 private:
  const uint64_t max_bytes_;
  std::atomic<uint64_t> used_bytes_ = 0;
};

// A client is an address, not a connection: it lives as long as anything of it is under way, so
// that reconnecting does not shed what it has been charged with.
class Client {
 public:
  Client(const PeerAddress& peer, uint64_t max_bytes, Budget& overall)
      : peer_(peer), own_(max_bytes), overall_(overall) {}

  bool TryCharge(uint64_t bytes) {
    if (!own_.TryCharge(bytes)) return false;
    if (overall_.TryCharge(bytes)) return true;
    own_.Release(bytes);
    return false;
  }
  void Charge(uint64_t bytes) {
    own_.Charge(bytes);
    overall_.Charge(bytes);
  }
  void Release(uint64_t bytes) {
    own_.Release(bytes);
    overall_.Release(bytes);
  }
  bool overloaded() const { return own_.full() || overall_.full(); }

  const PeerAddress& peer() const { return peer_; }
  // Connection objects alive.
  std::atomic<uint32_t>& connections() { return connections_; }

 private:
  const PeerAddress peer_;
  Budget own_;
  Budget& overall_;
  std::atomic<uint32_t> connections_ = 0;
};

// Bytes charged to a client, given back when this goes.
class Charge {
 public:
  Charge() = default;
  // Already charged.
  Charge(std::shared_ptr<Client> client, uint64_t bytes)
      : client_(std::move(client)), bytes_(bytes) {}
  Charge(Charge&& other) noexcept
      : client_(std::move(other.client_)), bytes_(std::exchange(other.bytes_, 0)) {}
  Charge& operator=(Charge&& other) noexcept {
    if (this != &other) {
      Reset();
      client_ = std::move(other.client_);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  ~Charge() { Reset(); }
  void Reset();

 private:
  std::shared_ptr<Client> client_;
  uint64_t bytes_ = 0;
};

// THREADS: any.
class ClientTable {
 public:
  ClientTable(uint64_t client_max_bytes, Budget& overall)
      : client_max_bytes_(client_max_bytes), overall_(overall) {}

  std::shared_ptr<Client> Get(const PeerAddress& peer);

 private:
  struct HashIp {
    size_t operator()(const std::array<uint8_t, 16>& ip) const;
  };
  static constexpr size_t kSmall = 64;

  const uint64_t client_max_bytes_;
  Budget& overall_;
  std::mutex mutex_;
  size_t live_ = kSmall;
  std::unordered_map<std::array<uint8_t, 16>, std::weak_ptr<Client>, HashIp> clients_;
};

}  // namespace prism::rpc
