// A program of a few procedures that do what a test tells them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "server/rpc/program.h"

namespace prism::rpc {

inline constexpr uint32_t kEchoProgram = 0x20000001;
inline constexpr uint32_t kEchoVersion = 3;

enum EchoProcedure : uint32_t {
  kNull = 0,
  kEcho = 1,         // the arguments again
  kWho = 2,          // u32 uid, gid, number of groups, groups; string machine
  kPayload = 3,      // u32 n: u32 n and n bytes, attached
  kGap = 4,          // does not exist
  kBlock = 5,        // waits for Open (may block), then echoes
  kCreate = 6,       // guarded: counts, answers the count, and that of echoes so far
  kDurable = 7,      // guarded, durable after its own mark; answers the count
  kGarbage = 8,      // guarded: always GARBAGE_ARGS
  kDropped = 9,      // guarded: never an answer
  kSlowCreate = 10,  // guarded and blocking: waits for Open, then as kCreate
  kSlowEcho = 11,    // waits for Open, although it says that it does not
};
inline constexpr uint32_t kRefusedAgain = 0xaaaaaaaa;  // what Refuse encodes
inline constexpr uint32_t kRefusedIo = 0xbbbbbbbb;

class EchoProgram final : public Program {
 public:
  explicit EchoProgram(uint32_t number = kEchoProgram, uint32_t version = kEchoVersion)
      : number_(number), version_(version) {}

  uint32_t number() const override { return number_; }
  uint32_t version() const override { return version_; }
  std::string_view name() const override { return "echo"; }
  std::span<const Procedure> procedures() const override;
  void Run(uint32_t procedure, const Call& call, Reply& reply) override;
  void Refuse(uint32_t procedure, Err why, Reply& reply) override;

  // Lets `count` calls that wait, or will, go on.
  void Open(uint32_t count);
  // The blocking calls that are inside now, and that have been at most.
  uint32_t blocked() const { return blocked_; }
  uint32_t blocked_most() const { return blocked_most_; }
  // Executions of counting procedures.
  uint64_t executed() const { return executed_; }
  uint64_t echoed() const { return echoed_; }
  // Payload objects alive.
  static std::atomic<int> payloads;

 private:
  void Wait();

  const uint32_t number_;
  const uint32_t version_;
  std::mutex mutex_;
  std::condition_variable opened_;
  uint32_t open_ = 0;
  std::atomic<uint32_t> blocked_ = 0;
  std::atomic<uint32_t> blocked_most_ = 0;
  std::atomic<uint64_t> executed_ = 0;
  std::atomic<uint64_t> echoed_ = 0;
};

}  // namespace prism::rpc
