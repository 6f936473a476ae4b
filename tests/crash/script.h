// Makes scripts: random, repeatable from the seed, valid on what the store holds.
#pragma once

#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/crash/realm.h"

namespace prism::crash {

struct ScriptOptions {
  uint64_t seed = 1;
  uint32_t threads = 4;  // beside the one that works on volumes
  uint32_t ops_per_thread = 400;
  uint32_t volume_ops = 12;  // 0: no thread for volumes
  uint64_t file_bytes_max = 1u << 20;
  uint32_t volumes_max = 6;
  bool sparse_giants = true;  // writes at terabytes
};

// One script for all threads. Each thread works in the directory "t<number>" of one volume of
// `store`, which must not be empty.
Script MakeScript(const Store& store, const ScriptOptions& options);

// One thread's operations on a realm.
class ScriptMaker {
 public:
  ScriptMaker(Realm realm, std::string top, const ScriptOptions& options, uint64_t seed);
  std::vector<Op> Make();

 private:
  void Step();
  void StepNames(uint32_t dice);
  void StepData(const std::string& path);
  void StepAttributes(const std::string& path);
  void ReplaceAfterFsync();
  void RenameSomething(uint32_t flags_dice);
  void Emit(Op op);
  uint64_t Random(uint64_t below) { return rng_() % below; }
  uint64_t Tag() { return Random(3) == 0 ? Random(24) : 100 + Random(1u << 30); }
  uint64_t Offset(uint64_t size);
  std::string Pick(bool (*accept)(const Object&));  // empty: there is none
  std::string NewName();

  Realm realm_;
  const std::string top_;
  const ScriptOptions& options_;
  std::mt19937_64 rng_;
  std::vector<Op> ops_;
};

}  // namespace prism::crash
