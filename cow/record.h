// The first byte of every journal record's payload: who reads the rest. On disk: never renumber.
#pragma once

#include <cstdint>

namespace prism::cow {

enum class RecordType : uint8_t {
  kChunk = 1,    // a chunk was stored, perhaps with its bytes (cow/chunk_table.cc)
  kChange = 16,  // items of one volume changed (clone/records.h, as all below)
  kCreate = 17,
  kClone = 18,
  kDestroy = 19,
  kRename = 20,
  kPublish = 21,
  kSnapshot = 22,
  kRollback = 23,
  kKeep = 24,
  kRequest = 25,
  kReplace = 28,
  kQuota = 30,
  kReveal = 31,
  kSeal = 32,
  kCompose = 33,
  kComposed = 34,
  kCounted = 35,
  kUncounted = 36,
};

}  // namespace prism::cow
