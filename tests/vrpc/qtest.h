// A QEMU's processor, played from outside: ports and memory by QEMU's qtest protocol.
#pragma once

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "fs/base/check.h"
#include "fs/base/unique_fd.h"

namespace prism::vrpc {

// The socket of a QEMU's qtest: one line each way.
class Processor {
 public:
  explicit Processor(UniqueFd socket) : socket_(std::move(socket)) {}

  std::string Ask(const std::string& line) {
    std::string request = line + "\n";
    PRISM_CHECK(::send(socket_.get(), request.data(), request.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(request.size()));
    std::string reply;
    while (reply.empty() || reply.back() != '\n') {
      pollfd poll_fd{.fd = socket_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&poll_fd, 1, 10000) != 1) return "timed out";
      char bytes[4096];
      ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
      if (got <= 0) return "gone";
      reply.append(bytes, static_cast<size_t>(got));
    }
    reply.pop_back();
    return reply;
  }
  void Do(const std::string& line) { PRISM_CHECK(Ask(line) == "OK"); }
  uint64_t Number(const std::string& line) {
    std::string reply = Ask(line);
    return reply.starts_with("OK 0x") ? std::stoull(reply.substr(5), nullptr, 16) : ~uint64_t{0};
  }
  uint32_t ReadConfig(uint32_t device, uint32_t reg) {
    Do(fmt::format("outl 0xcf8 {:#x}", 0x80000000 | device << 11 | reg));
    return static_cast<uint32_t>(Number("inl 0xcfc"));
  }
  void WriteConfig(uint32_t device, uint32_t reg, uint32_t value) {
    Do(fmt::format("outl 0xcf8 {:#x}", 0x80000000 | device << 11 | reg));
    Do(fmt::format("outl 0xcfc {:#x}", value));
  }
  uint64_t ReadWord(uint64_t at) { return Number(fmt::format("readq {:#x}", at)); }
  void Write(uint64_t at, const void* bytes, size_t length) {
    std::string hex;
    for (size_t i = 0; i < length; ++i)
      hex += fmt::format("{:02x}", static_cast<const uint8_t*>(bytes)[i]);
    Do(fmt::format("write {:#x} {:#x} 0x{}", at, length, hex));
  }

 private:
  UniqueFd socket_;
};

// The ivshmem device's slot on bus 0, or 32.
inline uint32_t FindDevice(Processor& processor) {
  uint32_t device = 0;
  while (device < 32 && processor.ReadConfig(device, 0) != 0x11101af4) ++device;
  return device;
}

}  // namespace prism::vrpc
