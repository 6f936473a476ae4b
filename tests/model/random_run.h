// The random test: one stream of random operations over a tree of clones, snapshots and volumes
// composed of them, done on the reference model and on another store side by side. Every reply is
// compared, the trees as a whole now and then, and at the end the store must have become empty.
//
// What is compared how:
//   inode numbers   by a table that grows with every file made; they need not be equal
//   times           exactly where they were set, otherwise both must be the clock's;
//                   atime by Getattr alone, and only where no reading came since it was set
//   change numbers  they grow together
//   used_bytes      content that is not all zeros uses something; what was never written nothing,
//                   once everything is written back; files in the statistics the same in the end
//   Seek            no data is skipped and no hole is invented; how fine holes are is free
//   CopyRange       may stop early; the model then copies as much
//   Readdir         as sets of entries; cookies are free
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fs/core/host.h"
#include "tests/model/random_way.h"

namespace prism::model {

struct RunOptions {
  uint64_t seed = 1;
  uint64_t ops = 3000;
  bool reopen = false;       // close and open the store at random moments
  bool checkpoints = false;  // and checkpoint, flush, drain
  bool any_number = true;    // the clients can ask for inode numbers that they never heard of
};

// Opens the store, which is empty the first time.
using OpenHost = std::function<std::unique_ptr<fs::Host>()>;

// Empty: alike all along. Otherwise the first difference, with the operations that led to it.
std::string RunRandom(const RunOptions& options, const OpenHost& open);

// The same where volumes are spoken to in another way than by the host itself, as whoever `attach`
// makes does. The host is empty. RunOptions::reopen has no meaning.
using AttachTo = std::function<std::shared_ptr<fs::FileSystem>(const std::string& volume)>;
std::string RunRandom(const RunOptions& options, fs::Host& host, Way way, const AttachTo& attach);

}  // namespace prism::model
