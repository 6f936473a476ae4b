// The rings: every interleaving of pushes and pops of small rings, indices that wrap, peers that
// lie, and the sleep protocol under two real threads.
#include "vrpc/ring.h"

#include <gtest/gtest.h>

#include <deque>
#include <thread>
#include <vector>

#include "vrpc/doorbell.h"
#include "vrpc/spin.h"

namespace prism::vrpc {
namespace {

struct Ring {
  explicit Ring(uint32_t entries, uint32_t begin = 0) : start(begin), places(entries) {
    control.tail.value = start;
    control.head.value = start;
  }

  const uint32_t start;
  RingControl control{};
  std::vector<SubmissionEntry> places;

  Producer<SubmissionEntry> producer() { return {&control, places.data(), size(), start}; }
  Consumer<SubmissionEntry> consumer() { return {&control, places.data(), size(), start}; }
  uint32_t size() const { return static_cast<uint32_t>(places.size()); }
};

SubmissionEntry Numbered(uint32_t n) { return {n, n + 1, n + 2, n + 3}; }

// Bit i of `plan` says whether step i pushes or pops; a deque is the model.
void RunPlan(uint32_t entries, uint32_t start, uint32_t plan, int steps) {
  Ring ring(entries, start);
  auto producer = ring.producer();
  auto consumer = ring.consumer();
  std::deque<uint32_t> model;
  uint32_t next = 1;
  for (int step = 0; step < steps; ++step) {
    if ((plan >> step & 1) != 0) {
      Look pushed = producer.Push(Numbered(next));
      ASSERT_EQ(pushed, model.size() < entries ? Look::kEntry : Look::kNothing);
      if (pushed == Look::kEntry) model.push_back(next);
      ++next;
    } else {
      SubmissionEntry entry{};
      Look popped = consumer.Pop(entry);
      ASSERT_EQ(popped, model.empty() ? Look::kNothing : Look::kEntry);
      if (popped != Look::kEntry) continue;
      ASSERT_EQ(entry.slot, model.front());
      ASSERT_EQ(entry.gap_ns, model.front() + 3);
      model.pop_front();
    }
    ASSERT_EQ(consumer.Peek(), model.empty() ? Look::kNothing : Look::kEntry);
  }
}

TEST(RingTest, EveryShortHistoryOfSmallRings) {
  constexpr int kSteps = 13;
  // Also across the wrap of the indices.
  for (uint32_t start : {0u, 0xffffffffu, 0xfffffffdu})
    for (uint32_t entries : {1u, 2u, 4u})
      for (uint32_t plan = 0; plan < 1u << kSteps; ++plan) RunPlan(entries, start, plan, kSteps);
}

TEST(RingTest, APeerThatLiesIsBroken) {
  for (uint32_t lie : {3u, 4u, 1000u, 0x80000000u, 0xffffffffu}) {
    Ring ring(2);
    auto consumer = ring.consumer();
    Shared(ring.control.tail).store(lie);
    SubmissionEntry entry{};
    EXPECT_EQ(consumer.Pop(entry), Look::kBroken);
    EXPECT_EQ(consumer.Peek(), Look::kBroken);
    EXPECT_FALSE(consumer.PrepareSleep());  // it must be looked at, not slept on
    Ring other(2);
    auto producer = other.producer();
    Shared(other.control.head).store(lie);
    EXPECT_EQ(producer.Push(Numbered(1)), lie == 0xffffffffu   ? Look::kEntry
                                          : lie == 0xfffffffeu ? Look::kNothing
                                                               : Look::kBroken);
  }
}

TEST(RingTest, IndicesOfAnEndArePrivate) {
  Ring ring(2);
  auto producer = ring.producer();
  auto consumer = ring.consumer();
  EXPECT_EQ(producer.Push(Numbered(5)), Look::kEntry);
  // Whatever the consumer's own published index is changed to, it goes on from where it was.
  Shared(ring.control.head).store(77);
  SubmissionEntry entry{};
  EXPECT_EQ(consumer.Pop(entry), Look::kEntry);
  EXPECT_EQ(entry.slot, 5u);
  EXPECT_EQ(Shared(ring.control.head).load(), 1u);
}

// One thread sends, sleeping whenever the ring is full; the other receives, sleeping whenever it is
// empty. A lost wake-up would hang the test.
TEST(RingTest, NobodySleepsForever) {
  constexpr uint32_t kEntries = 200'000;
  Ring there(2), back(2);
  UniqueFd there_bell = std::move(*MakeDoorbell()), back_bell = std::move(*MakeDoorbell());
  std::thread echo([&] {
    auto in = there.consumer();
    auto out = back.producer();
    for (uint32_t i = 0; i < kEntries;) {
      SubmissionEntry entry{};
      Look look = in.Pop(entry);
      if (look == Look::kNothing) {
        if (!in.PrepareSleep()) continue;
        AwaitRing(there_bell.get());
        in.Wake();
        continue;
      }
      ASSERT_EQ(look, Look::kEntry);
      ASSERT_EQ(entry.slot, i);
      ASSERT_EQ(out.Push(entry), Look::kEntry);
      if (out.ConsumerSleeps()) prism::vrpc::Ring(back_bell.get());
      ++i;
    }
  });
  auto out = there.producer();
  auto in = back.consumer();
  SpinGate gate;
  for (uint32_t i = 0; i < kEntries; ++i) {
    ASSERT_EQ(out.Push(Numbered(i)), Look::kEntry);
    if (out.ConsumerSleeps()) prism::vrpc::Ring(there_bell.get());
    SubmissionEntry entry{};
    while (in.Pop(entry) != Look::kEntry) {
      // Now asleep at once, now after polling: both sides meet in every phase.
      if (i % 3 == 0 &&
          gate.Spin(2000, [&] { return in.Peek() != Look::kNothing; }) == Spun::kFound)
        continue;
      if (!in.PrepareSleep()) continue;
      AwaitRing(back_bell.get());
      in.Wake();
    }
    ASSERT_EQ(entry.slot, i);
  }
  echo.join();
}

TEST(SignallerTest, RingsAndNeverBlocks) {
  auto signaller = Signaller::Make();
  ASSERT_TRUE(signaller) << signaller.error().message;
  UniqueFd bell = std::move(*MakeDoorbell());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) (*signaller)->Ring(bell.get());  // more than can be under way
    });
  for (std::thread& thread : threads) thread.join();
  uint64_t count = 0;
  ASSERT_EQ(::read(bell.get(), &count, sizeof count), 8);
  EXPECT_EQ(count, 20'000u);
  EXPECT_FALSE(IsRung(bell.get()));
  count = ~uint64_t{0} - 1;  // full: a write would block
  ASSERT_EQ(::write(bell.get(), &count, sizeof count), 8);
  (*signaller)->Ring(bell.get());
  (*signaller)->Ring(bell.get());
  EXPECT_TRUE(IsRung(bell.get()));
  TryClear(bell.get());
  EXPECT_FALSE(IsRung(bell.get()));
}

TEST(SpinTest, MissesAreRationedAndAHitFrees) {
  Backoff backoff;
  EXPECT_TRUE(backoff.Allow());
  EXPECT_TRUE(backoff.Allow());
  int skipped = 0;
  for (int miss = 0; miss < 4; ++miss) {
    backoff.Miss();
    while (!backoff.Allow()) ++skipped;
  }
  EXPECT_EQ(skipped, 1 + 3 + 7 + 15);
  for (int hit = 0; hit < 200; ++hit) {
    EXPECT_TRUE(backoff.Allow());
    backoff.Hit();
  }
  backoff.Miss();
  EXPECT_FALSE(backoff.Allow());  // one skip, as at first
  EXPECT_TRUE(backoff.Allow());
}

TEST(SpinTest, BudgetFollowsWhatIsMeasured) {
  SpinBudget budget;
  EXPECT_GT(budget.BudgetNs(50'000), 0u);
  EXPECT_EQ(budget.BudgetNs(0), 0u);
  for (int i = 0; i < 50; ++i) budget.Learn(300'000, 50'000);  // an fsync
  EXPECT_EQ(budget.BudgetNs(50'000), 0u);
  for (int i = 0; i < 50; ++i) budget.Learn(1000, 50'000);
  EXPECT_GE(budget.BudgetNs(50'000), 2000u);
  EXPECT_LE(budget.BudgetNs(50'000), 10'000u);
}

}  // namespace
}  // namespace prism::vrpc
