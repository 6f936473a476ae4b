// Results in tests: take the value or fail with the error's name and the caller's line.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <source_location>
#include <string>

#include "fs/base/error.h"
#include "fs/base/failure.h"

namespace prism {

inline void PrintTo(Err err, std::ostream* out) { *out << NameOf(err); }

namespace test {

inline std::string Words(Err err) { return std::string(NameOf(err)); }
inline std::string Words(const Failure& failure) {
  return std::string(NameOf(failure.code)) + ": " + failure.message;
}

inline Err CodeOf(Err err) { return err; }
inline Err CodeOf(const Failure& failure) { return failure.code; }

// The error of a Result, Status or Outcome; kOk without one.
template <typename T, typename E>
Err ErrOf(const tl::expected<T, E>& result) {
  return result ? Err::kOk : CodeOf(result.error());
}

// The value. Without one: a failure of the test at the caller's line, and an empty value.
template <typename T, typename E>
T Must(tl::expected<T, E> result, std::source_location at = std::source_location::current()) {
  if (!result) {
    ADD_FAILURE_AT(at.file_name(), static_cast<int>(at.line())) << Words(result.error());
    if constexpr (std::is_void_v<T>) {
      return;
    } else {
      return T{};
    }
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace test
}  // namespace prism
