#include "fs/mount/listing_advice.h"

#include <gtest/gtest.h>

namespace prism::mount {
namespace {

using Clock = ListingAdvice::Clock;

constexpr uint32_t kAll = ListingAdvice::kAll;
constexpr uint32_t kQuestion = ListingAdvice::kQuestion;

// How many listings in a row bring all attributes.
int RunOf(ListingAdvice& advice) {
  int run = 0;
  while (advice.Begin(1000, Clock::now()) == 0) ++run;
  return run;
}

void LookUp(ListingAdvice& advice, InodeId dir, int times) {
  for (int i = 0; i < times; ++i) advice.LookedUp(dir);
}

TEST(ListingAdvice, AsksOnceAndIsBareWhereNobodyLooks) {
  ListingAdvice advice;
  EXPECT_EQ(advice.Begin(1, Clock::now()), kQuestion);
  for (InodeId dir = 2; dir < 1000; ++dir) EXPECT_EQ(advice.Begin(dir, Clock::now()), kAll);
}

TEST(ListingAdvice, BringsAttributesAfterLookUpsOfWhatWasListed) {
  ListingAdvice advice;
  EXPECT_EQ(advice.Begin(7, Clock::now()), kQuestion);
  LookUp(advice, 7, 300);
  EXPECT_EQ(advice.Begin(8, Clock::now()), 0u);
}

TEST(ListingAdvice, OtherLookUpsSayNothing) {
  ListingAdvice advice;
  EXPECT_EQ(advice.Begin(7, Clock::now()), kQuestion);
  LookUp(advice, 8, 300);  // of a directory that was not listed
  EXPECT_EQ(advice.Begin(9, Clock::now() - std::chrono::seconds(1)), kAll);
  LookUp(advice, 9, 300);  // long after it was listed
  EXPECT_EQ(advice.Begin(10, Clock::now()), kAll);
  LookUp(advice, 10, 2);  // one file was opened
  EXPECT_EQ(advice.Begin(11, Clock::now()), kAll);
}

TEST(ListingAdvice, ALongListingIsRecentToItsEnd) {
  ListingAdvice advice;
  EXPECT_EQ(advice.Begin(7, Clock::now() - std::chrono::seconds(1)), kQuestion);
  advice.GoOn(7, Clock::now());
  LookUp(advice, 7, 300);
  EXPECT_EQ(advice.Begin(7, Clock::now()), 0u);
}

TEST(ListingAdvice, AsksEverMoreRarelyWhileTheAnswerIsTheSame) {
  ListingAdvice advice;
  int last = 0;
  EXPECT_EQ(RunOf(advice), 0);
  for (int i = 0; i < 10; ++i) {
    LookUp(advice, 1000, 300);
    int run = RunOf(advice);  // ended with a question
    EXPECT_TRUE(run > last || run == 512) << run;
    last = run;
  }
  EXPECT_EQ(last, 512);
  EXPECT_EQ(RunOf(advice), 0);  // nobody looked at what the last one asked
  LookUp(advice, 1000, 300);
  EXPECT_EQ(RunOf(advice), 16);
}

}  // namespace
}  // namespace prism::mount
