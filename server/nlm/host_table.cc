#include "server/nlm/host_table.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>

namespace prism::nlm {
namespace {

constexpr std::string_view kStateKey = "nlm/state";
constexpr std::string_view kHostPrefix = "nlm/host/";
constexpr uint16_t kPrivilegedPorts = 1024;
constexpr std::string_view kDigits = "0123456789abcdef";

std::string Hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    text += kDigits[static_cast<uint8_t>(byte) >> 4];
    text += kDigits[static_cast<uint8_t>(byte) & 15];
  }
  return text;
}

bool FromHex(std::string_view text, std::string& bytes) {
  bytes.clear();
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    const size_t high = kDigits.find(text[i]), low = kDigits.find(text[i + 1]);
    if (high == kDigits.npos || low == kDigits.npos) return false;
    bytes += static_cast<char>(high << 4 | low);
  }
  return text.size() % 2 == 0;
}

bool ParseKey(std::string_view key, Machine& machine) {
  key.remove_prefix(kHostPrefix.size());
  const size_t slash = key.find('/');
  std::string ip;
  if (slash == key.npos || !FromHex(key.substr(0, slash), ip) ||
      ip.size() != machine.address.ip.size() || !FromHex(key.substr(slash + 1), machine.name))
    return false;
  std::copy(ip.begin(), ip.end(), machine.address.ip.begin());
  return true;
}

// NSM's names come with or without their domain.
bool SameName(std::string_view a, std::string_view b) {
  return a.substr(0, a.find('.')) == b.substr(0, b.find('.'));
}

}  // namespace

std::string HostTable::KeyOf(const rpc::PeerAddress& peer, std::string_view name) {
  const std::string_view ip(reinterpret_cast<const char*>(peer.ip.data()), peer.ip.size());
  return std::string(kHostPrefix) + Hex(ip) + "/" + Hex(name);
}

Outcome<std::unique_ptr<HostTable>> HostTable::Open(fs::Host& host) {
  std::unique_ptr<HostTable> table(new HostTable(host));
  PRISM_ASSIGN(const std::string stored, host.Setting(kStateKey));
  uint32_t last = 0;
  std::from_chars(stored.data(), stored.data() + stored.size(), last);
  table->state_ = (last | 1) + (stored.empty() ? 0 : 2);
  PRISM_TRY(host.SetSetting(kStateKey, std::to_string(table->state_)));
  PRISM_ASSIGN(const auto rows, host.Settings(kHostPrefix));
  for (const auto& [key, value] : rows) {
    Machine machine;
    if (!ParseKey(key, machine)) {
      spdlog::warn("NLM: a row that is no machine: {}", key);
      continue;
    }
    // Whoever it was may have come from any port: a later call tells.
    table->old_.emplace(key, machine);
    table->to_notify_.push_back(std::move(machine));
  }
  return table;
}

Result<uint64_t> HostTable::Register(const rpc::PeerAddress& peer, std::string_view name) {
  if (name.size() > rpc::kMachineNameMax) return Fail(Err::kNoLocks);
  const std::string key = KeyOf(peer, name);
  std::lock_guard lock(mutex_);
  if (auto known = machines_.find(key); known != machines_.end()) return known->second.id;
  const auto of_address = std::count_if(machines_.begin(), machines_.end(), [&](const auto& item) {
    return item.second.address.ip == peer.ip;
  });
  const bool full =
      machines_.size() + old_.size() >= kMachinesMax || of_address >= kMachinesPerAddressMax;
  if (full && !old_.contains(key)) return Fail(Err::kNoLocks);
  // Under the mutex: nobody may take the row away between its being written and being known here.
  if (Outcome<void> kept = host_.SetSetting(key, "1"); !kept) {
    spdlog::error("NLM: {}", kept.error().message);
    return Fail(Err::kIo);
  }
  old_.erase(key);
  Machine& machine = machines_[key];
  machine.id = next_id_++;
  machine.address.ip = peer.ip;
  machine.name = name;
  machine.privileged = peer.port < kPrivilegedPorts;
  return machine.id;
}

uint64_t HostTable::Find(const rpc::PeerAddress& peer, std::string_view name) const {
  std::lock_guard lock(mutex_);
  auto known = machines_.find(KeyOf(peer, name));
  return known == machines_.end() ? 0 : known->second.id;
}

void HostTable::ForgetOld() {
  std::lock_guard lock(mutex_);
  for (const auto& [key, machine] : old_)
    if (Outcome<void> removed = host_.SetSetting(key, ""); !removed)
      spdlog::error("NLM: {}", removed.error().message);
  old_.clear();
}

std::vector<uint64_t> HostTable::Forget(const rpc::PeerAddress& peer, std::string_view name) {
  std::vector<uint64_t> gone;
  std::lock_guard lock(mutex_);
  auto is_meant = [&](const Machine& machine) {
    return machine.address.ip == peer.ip && SameName(machine.name, name) &&
           (!machine.privileged || peer.port < kPrivilegedPorts);
  };
  auto forget = [&](auto& machines, auto gone_id) {
    std::erase_if(machines, [&](const auto& item) {
      if (!is_meant(item.second)) return false;
      if (Outcome<void> removed = host_.SetSetting(item.first, ""); !removed)
        spdlog::error("NLM: {}", removed.error().message);
      gone_id(item.second.id);
      return true;
    });
  };
  forget(machines_, [&](uint64_t id) { gone.push_back(id); });
  forget(old_, [](uint64_t) {});
  return gone;
}

}  // namespace prism::nlm
