#include "tests/rpc/echo_program.h"

#include <algorithm>
#include <array>
#include <memory>

namespace prism::rpc {
namespace {

constexpr std::array<Procedure, 12> kProcedures = {{
    {.name = "NULL"},
    {.name = "ECHO"},
    {.name = "WHO"},
    {.name = "PAYLOAD"},
    {},
    {.name = "BLOCK", .may_block = true},
    {.name = "CREATE", .replay_guarded = true},
    {.name = "DURABLE", .replay_guarded = true},
    {.name = "GARBAGE", .replay_guarded = true},
    {.name = "DROPPED", .replay_guarded = true},
    {.name = "SLOW_CREATE", .replay_guarded = true, .may_block = true},
    {.name = "SLOW_ECHO"},
}};

constexpr uint32_t kPayloadMax = 16 << 20;

// In parts of all sizes, more of them than one sendmsg takes.
std::vector<KeptBytes> Pattern(size_t size_bytes) {
  ++EchoProgram::payloads;
  const std::shared_ptr<std::vector<std::byte>> bytes(new std::vector<std::byte>(size_bytes),
                                                      [](std::vector<std::byte>* all) {
                                                        delete all;
                                                        --EchoProgram::payloads;
                                                      });
  for (size_t i = 0; i < size_bytes; ++i) (*bytes)[i] = static_cast<std::byte>(i * 7);
  std::vector<KeptBytes> parts;
  for (size_t at = 0; at < size_bytes; at += parts.back().bytes.size()) {
    const size_t length = parts.size() < 200 ? 1 + parts.size() * 31 % 1000 : size_bytes;
    parts.push_back({bytes, std::span(*bytes).subspan(at, std::min(length, size_bytes - at))});
  }
  return parts;
}

}  // namespace

std::atomic<int> EchoProgram::payloads = 0;

std::span<const Procedure> EchoProgram::procedures() const { return kProcedures; }

void EchoProgram::Run(uint32_t procedure, const Call& call, Reply& reply) {
  XdrReader in(call.args);
  switch (procedure) {
    case kBlock:
    case kSlowEcho:
      Wait();
      [[fallthrough]];
    case kEcho:
      ++echoed_;
      reply.out().FixedOpaque(call.args);
      return;
    case kWho:
      reply.out().U32(call.credentials.uid);
      reply.out().U32(call.credentials.gid);
      reply.out().U32(static_cast<uint32_t>(call.credentials.group_count));
      for (size_t i = 0; i < call.credentials.group_count; ++i)
        reply.out().U32(call.credentials.groups[i]);
      reply.out().String(call.credentials.machine_name);
      return;
    case kPayload: {
      const uint32_t size_bytes = in.U32();
      if (in.failed() || size_bytes > kPayloadMax) return reply.SetGarbageArgs();
      reply.out().U32(size_bytes);
      return reply.Attach(Pattern(size_bytes));
    }
    case kSlowCreate:
      Wait();
      [[fallthrough]];
    case kCreate:
      reply.out().U32(static_cast<uint32_t>(++executed_));
      return reply.out().U32(static_cast<uint32_t>(echoed_));
    case kDurable: {
      const uint64_t count = ++executed_;
      reply.out().U32(static_cast<uint32_t>(count));
      return reply.DurableAfter(count);
    }
    case kGarbage:
      ++executed_;
      reply.out().U32(1);
      return reply.SetGarbageArgs();
    case kDropped:
      ++executed_;
      return reply.Drop();
  }
}

void EchoProgram::Refuse(uint32_t procedure, Err why, Reply& reply) {
  if (procedure == kWho) return;  // cannot say so
  reply.out().U32(why == Err::kAgain ? kRefusedAgain : kRefusedIo);
}

void EchoProgram::Wait() {
  std::unique_lock lock(mutex_);
  ++blocked_;
  blocked_most_ = std::max<uint32_t>(blocked_most_, blocked_);
  opened_.wait(lock, [&] { return open_ > 0; });
  --open_;
  --blocked_;
}

void EchoProgram::Open(uint32_t count) {
  std::lock_guard lock(mutex_);
  open_ += count;
  opened_.notify_all();
}

}  // namespace prism::rpc
