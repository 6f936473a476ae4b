// Ways to a volume that cannot say all that the contract can (tests/conformance/driver.h tells what
// and why), and operations in the words that they have.
#pragma once

#include "tests/model/random_ops.h"

namespace prism::model {

enum class Way : uint8_t {
  kContract,  // in process: everything
  kNfs,       // procedures of NFSv3
  kMount,     // system calls on a FUSE mount
};

// Changes an operation to one that this way can say, and that means the same there. False: there is
// none. The types are those of the operation's target and of its other inode.
bool Restrain(Way way, fs::FileType target, fs::FileType other, Operation& operation);

}  // namespace prism::model
