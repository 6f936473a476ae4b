// For comparison only: the classical central distributor of inter-VM shared memory, as QEMU's
// contrib/ivshmem-server behaves. Every peer gets the whole memory and every other's eventfds, all
// from one thread that accepts one client at a time; and a manager, the first of the peers, which
// answers the others' doorbells.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fs/base/unique_fd.h"
#include "vrpc/layout.h"

namespace prism::bench {

// Of all processes of one run, in memory that they share.
struct Totals {
  std::atomic<uint64_t> messages = 0;     // that peers have received
  std::atomic<uint64_t> descriptors = 0;  // that came with them
  std::atomic<uint64_t> answered = 0;     // peers that have had their round trip
  std::atomic<uint64_t> answered_ns = 0;  // when the last one had it
  std::atomic<uint64_t> complete = 0;     // peers to whom everything has been told
  std::atomic<uint64_t> complete_ns = 0;
};

// What one peer holds after having connected, by messages of the ivshmem protocol; the same for a
// client of Prism's server, which announces less.
struct Peer {
  UniqueFd socket;
  int64_t id = -1;
  UniqueFd memory;
  std::map<int64_t, std::vector<UniqueFd>> vectors;  // by peer
  uint64_t messages = 0;

  // Retries while nobody listens there.
  explicit Peer(const std::string& path);
  void ReceiveOne(Totals& totals);  // ends the process when nothing comes for a minute
  bool Has(int64_t peer, uint32_t count) const {
    auto found = vectors.find(peer);
    return found != vectors.end() && found->second.size() == count;
  }
};

// Where peer `id` asks the manager, and is answered, in the memory of all.
struct Desk {
  vrpc::Word asked;
  vrpc::Word answered;
};

inline constexpr int64_t kManagerId = 0;

// The distributor: memory of that size for all, `vectors` eventfds a peer. Never returns.
[[noreturn]] void Distribute(const std::string& path, uint64_t memory_bytes, uint32_t vectors);
// The manager: connects, reports that it stands by adding 1 to `ready`, and answers. Never returns.
[[noreturn]] void Manage(const std::string& path, uint32_t vectors, int ready_fd, Totals& totals);

// The whole of a descriptor's memory.
std::byte* MapAll(int fd);

}  // namespace prism::bench
