// An error of the control plane: what went wrong, in words that say what to do.
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>

#include "fs/base/error.h"

namespace prism {

struct Failure {
  Err code = Err::kIo;
  std::string message;
};

template <typename T>
using Outcome = tl::expected<T, Failure>;

template <typename... Args>
tl::unexpected<Failure> Explain(Err code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Failure>(Failure{code, fmt::format(format, std::forward<Args>(args)...)});
}

// "WHAT: No such file or directory", for a failed system call.
tl::unexpected<Failure> ExplainErrno(int error_number, std::string_view what);

}  // namespace prism
