#include "server/rpc/memory.h"

#include <algorithm>
#include <cstring>

namespace prism::rpc {

void Charge::Reset() {
  if (client_ != nullptr) client_->Release(bytes_);
  bytes_ = 0;
  client_.reset();
}

size_t ClientTable::HashIp::operator()(const std::array<uint8_t, 16>& ip) const {
  uint64_t halves[2];
  std::memcpy(halves, ip.data(), sizeof halves);
  return (halves[0] ^ halves[1]) * 0x9e3779b97f4a7c15u;
}

std::shared_ptr<Client> ClientTable::Get(const PeerAddress& peer) {
  std::lock_guard lock(mutex_);
  std::weak_ptr<Client>& slot = clients_[peer.ip];
  if (std::shared_ptr<Client> client = slot.lock()) return client;
  auto client = std::make_shared<Client>(peer, client_max_bytes_, overall_);
  slot = client;
  if (clients_.size() > 2 * live_) {
    std::erase_if(clients_, [](const auto& item) { return item.second.expired(); });
    live_ = std::max(kSmall, clients_.size());
  }
  return client;
}

}  // namespace prism::rpc
