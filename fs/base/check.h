// Assertions about our own logic; on in production. Never for a peer's bytes or stored bytes.
#pragma once

namespace prism {
[[noreturn]] void CheckFailed(const char* expression, const char* file, int line);
}  // namespace prism

#define PRISM_CHECK(condition)                              \
  do {                                                      \
    if (!(condition)) [[unlikely]]                          \
      ::prism::CheckFailed(#condition, __FILE__, __LINE__); \
  } while (0)
