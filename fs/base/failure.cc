#include "fs/base/failure.h"

#include <system_error>

namespace prism {

tl::unexpected<Failure> ExplainErrno(int error_number, std::string_view what) {
  return Explain(ErrFromErrno(error_number), "{}: {}", what,
                 std::generic_category().message(error_number));
}

}  // namespace prism
