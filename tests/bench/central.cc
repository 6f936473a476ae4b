#include "tests/bench/central.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <set>

#include "tests/bench/measure.h"
#include "vrpc/doorbell.h"
#include "vrpc/ivshmem.h"
#include "vrpc/ring.h"
#include "vrpc/sockets.h"

namespace prism::bench {
namespace {

vrpc::Deadline InAMinute() { return std::chrono::steady_clock::now() + std::chrono::minutes(1); }

class Distributor {
 public:
  Distributor(const std::string& path, uint64_t memory_bytes, uint32_t vectors)
      : listener_(Must(vrpc::ListenAt(path, ::geteuid()), "cannot listen")),
        memory_(::memfd_create("central", MFD_CLOEXEC)),
        vectors_(vectors) {
    if (::ftruncate(memory_.get(), static_cast<off_t>(memory_bytes)) != 0) Die("no memory");
  }

  [[noreturn]] void Run() {
    for (;;) {
      std::vector<pollfd> fds = {{.fd = listener_.get(), .events = POLLIN, .revents = 0}};
      std::vector<int64_t> ids;
      for (const auto& [id, client] : clients_) {
        fds.push_back({.fd = client.socket.get(), .events = POLLIN, .revents = 0});
        ids.push_back(id);
      }
      if (::poll(fds.data(), fds.size(), -1) < 0) continue;
      for (size_t i = 0; i < ids.size(); ++i)
        if (fds[i + 1].revents != 0) Forget(ids[i]);  // it has gone, or said what it must not
      if (fds[0].revents != 0) Admit();
    }
  }

 private:
  struct Client {
    UniqueFd socket;
    std::vector<UniqueFd> eventfds;
  };

  // Where the original gives up on a peer that does not read, this one waits for it.
  static void Send(int socket_fd, int64_t value, int fd) {
    while (vrpc::SendMessage(socket_fd, value, fd) == vrpc::Sent::kNothing) {
      pollfd wait{.fd = socket_fd, .events = POLLOUT, .revents = 0};
      ::poll(&wait, 1, 10);
    }
  }
  static void Advertise(int64_t id, const Client& peer, int to_socket) {
    for (const UniqueFd& fd : peer.eventfds) Send(to_socket, id, fd.get());
  }

  void Admit() {
    Client made;
    made.socket = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!made.socket) return;
    for (uint32_t v = 0; v < vectors_; ++v)
      made.eventfds.emplace_back(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    const int64_t id = next_id_++;
    const int socket = made.socket.get();
    Send(socket, vrpc::kIvshmemVersion, -1);
    Send(socket, id, -1);
    Send(socket, vrpc::kIvshmemMemory, memory_.get());
    for (const auto& [other_id, other] : clients_) Advertise(id, made, other.socket.get());
    for (const auto& [other_id, other] : clients_) Advertise(other_id, other, socket);
    Advertise(id, made, socket);
    clients_.emplace(id, std::move(made));
  }
  void Forget(int64_t id) {
    clients_.erase(id);
    for (const auto& [other_id, other] : clients_) Send(other.socket.get(), id, -1);
  }

  const UniqueFd listener_;
  const UniqueFd memory_;
  const uint32_t vectors_;
  int64_t next_id_ = 0;
  std::map<int64_t, Client> clients_;
};

}  // namespace

Peer::Peer(const std::string& path) {
  for (int i = 0; i < 10000; ++i) {
    if (auto connected = vrpc::ConnectTo(path, InAMinute())) {
      socket = std::move(*connected);
      return;
    }
    ::usleep(1000);
  }
  Die("nobody listens at " + path);
}

void Peer::ReceiveOne(Totals& totals) {
  vrpc::IvshmemMessage message = Must(vrpc::ReceiveMessage(socket.get(), InAMinute()), "a peer");
  ++totals.messages;
  if (messages++ == 1) id = message.value;
  if (!message.fd) return;
  ++totals.descriptors;
  if (message.value == vrpc::kIvshmemMemory) {
    memory = std::move(message.fd);
  } else {
    vectors[message.value].push_back(std::move(message.fd));
  }
}

std::byte* MapAll(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) Die("no memory has come");
  void* at = ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ | PROT_WRITE,
                    MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) Die("cannot map the memory");
  return static_cast<std::byte*>(at);
}

void Distribute(const std::string& path, uint64_t memory_bytes, uint32_t vectors) {
  Distributor(path, memory_bytes, vectors).Run();
}

void Manage(const std::string& path, uint32_t vectors, int ready_fd, Totals& totals) {
  Peer self(path);
  while (self.id < 0 || !self.Has(self.id, vectors)) self.ReceiveOne(totals);
  if (self.id != kManagerId) Die("the manager is not the first");
  Desk* desks = reinterpret_cast<Desk*>(MapAll(self.memory.get()));
  vrpc::Ring(ready_fd);
  const int bell = self.vectors[kManagerId][0].get();
  std::set<int64_t> unanswered;
  for (;;) {
    pollfd fds[] = {{.fd = self.socket.get(), .events = POLLIN, .revents = 0},
                    {.fd = bell, .events = POLLIN, .revents = 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) vrpc::TryClear(bell);
    if ((fds[0].revents & POLLIN) != 0) {
      self.ReceiveOne(totals);
      for (const auto& [id, eventfds] : self.vectors)
        if (id != kManagerId && vrpc::Shared(desks[id].answered).load() == 0) unanswered.insert(id);
    }
    for (auto id = unanswered.begin(); id != unanswered.end();) {
      const bool asks = vrpc::Shared(desks[*id].asked).load() != 0 && self.Has(*id, vectors);
      if (asks) {
        vrpc::Shared(desks[*id].answered).store(1);
        vrpc::Ring(self.vectors[*id][0].get());
      }
      id = asks ? unanswered.erase(id) : std::next(id);
    }
  }
}

}  // namespace prism::bench
