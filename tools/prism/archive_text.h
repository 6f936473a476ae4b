// Two things about libarchive (3.6) that its callers must know.
#pragma once

#include <locale.h>

#include "fs/contract/attr.h"

namespace prism::tool {

// libarchive converts names between pax's UTF-8 and the calling thread's locale. While one of these
// lives, that is UTF-8 too, whatever the user's environment says, so that names stay as they are.
class Utf8Locale {
 public:
  Utf8Locale()
      : locale_(newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)),
        previous_(uselocale(locale_ ? locale_ : LC_GLOBAL_LOCALE)) {}
  ~Utf8Locale() {
    uselocale(previous_);
    if (locale_) freelocale(locale_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  locale_t locale_;
  locale_t previous_;
};

// pax writes a time as a decimal fraction: half a second before 1970 is "-0.5". libarchive takes
// the digits before the point and those after it as two numbers, the second counting forward, both
// when it reads and when it writes. These convert times before 1970; all others stay as they are.
// Within the last second before 1970 the fraction is lost: libarchive has no "-0".
inline fs::Timespec ToPaxTime(fs::Timespec time) {
  if (time.sec >= 0 || time.nsec == 0) return time;
  if (time.sec == -1) return {-1, 0};
  return {time.sec + 1, 1000000000 - time.nsec};
}
inline fs::Timespec FromPaxTime(fs::Timespec time) {
  if (time.sec >= 0 || time.nsec == 0) return time;
  return {time.sec - 1, 1000000000 - time.nsec};
}

}  // namespace prism::tool
