// Health: proven, answered, unanswered, from samples of one key. And the back-off of what is tried
// again.
#include "core/health.h"

#include <gtest/gtest.h>

#include "core/backoff.h"

namespace mesh {
namespace {

using std::chrono::seconds;

class HealthTest : public ::testing::Test {
 protected:
  MonotonicTime now() const { return now_.monotonic; }
  void wait(Duration duration) {
    now_.monotonic += duration;
    now_.wall += duration;
  }
  void shake() { handshake_ = now_.wall; }
  bool look() { return health_.observe({now_, handshake_, rx_, inner_tx_}); }
  Proof proof() const { return health_.proof(now()); }

  Instant now_{MonotonicTime(std::chrono::hours(1)), WallTime(std::chrono::hours(500'000))};
  std::optional<WallTime> handshake_;
  std::uint64_t rx_ = 0;
  std::uint64_t inner_tx_ = 0;
  Health health_;
};

TEST_F(HealthTest, NothingIsProvenBeforeAHandshake) {
  EXPECT_EQ(proof(), Proof::kNever);
  rx_ = 500;  // somebody's handshake initiation: bytes alone prove nothing
  inner_tx_ = 500;
  EXPECT_FALSE(look());
  EXPECT_EQ(proof(), Proof::kNever);
  EXPECT_EQ(health_.deadline(), std::nullopt);
}

TEST_F(HealthTest, AHandshakeProves) {
  look();
  shake();
  EXPECT_TRUE(look());
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(HealthTest, IdleIsNotFailing) {
  shake();
  look();
  for (int i = 0; i < 100; ++i) {
    wait(seconds(60));
    EXPECT_FALSE(look());
  }
  EXPECT_EQ(proof(), Proof::kProven);
}

// Where nothing counts inner bytes, WireGuard's own count has to do, in which keepalives are.
class UncountedHealth : public HealthTest {
 protected:
  bool look() { return health_.observe({now_, handshake_, rx_, std::nullopt, tx_}); }
  std::uint64_t tx_ = 0;
};

TEST_F(UncountedHealth, KeepalivesThatNobodyAnswersAreNotFailing) {
  shake();
  look();
  for (int i = 0; i < 18; ++i) {  // as long as a session lives
    wait(seconds(10));
    tx_ += 32;
    EXPECT_FALSE(look());
  }
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(UncountedHealth, HandshakesThatNobodyAnswersAre) {
  shake();
  look();
  for (int i = 0; i < 10; ++i) {
    wait(seconds(5));
    tx_ += 148;
    look();
  }
  EXPECT_EQ(proof(), Proof::kUnanswered);
  rx_ += 32;
  look();
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(UncountedHealth, DataThatIsAnsweredNowAndThenIsNotFailing) {
  shake();
  for (int i = 0; i < 60; ++i) {
    wait(seconds(1));
    tx_ += 100'000;
    if (i % 10 == 0) rx_ += 32;
    EXPECT_FALSE(look() && i > 0);
  }
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(UncountedHealth, ADeviceThatWasMadeAnewCountsFromTheStart) {
  tx_ = 1'000'000;
  shake();
  look();
  tx_ = 0;
  wait(seconds(1));
  look();
  tx_ = 148'000;
  look();
  wait(kUnansweredAfter);
  look();
  EXPECT_EQ(proof(), Proof::kUnanswered);
}

TEST_F(HealthTest, WhatIsSentAndNotAnsweredForTwentyFiveSecondsIsUnanswered) {
  shake();
  look();
  inner_tx_ += 100;
  look();
  ASSERT_TRUE(health_.deadline().has_value());
  EXPECT_EQ(*health_.deadline(), now() + kUnansweredAfter);
  wait(kUnansweredAfter - Duration(1));
  look();
  EXPECT_EQ(proof(), Proof::kProven);
  wait(Duration(1));
  look();
  EXPECT_EQ(proof(), Proof::kUnanswered);
  EXPECT_EQ(health_.unanswered_for(now()), kUnansweredAfter);
}

TEST_F(HealthTest, TimeAloneMakesASendUnanswered) {
  shake();
  look();
  inner_tx_ += 100;
  look();
  wait(kUnansweredAfter);
  EXPECT_EQ(proof(), Proof::kUnanswered) << "no sample is needed to see that nothing came";
}

TEST_F(HealthTest, OneByteBackIsAnAnswer) {
  shake();
  look();
  inner_tx_ += 100;
  look();
  wait(seconds(30));
  look();
  ASSERT_EQ(proof(), Proof::kUnanswered);
  rx_ += 32;  // a keepalive
  EXPECT_TRUE(look());
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(HealthTest, AHandshakeIsAnAnswerToo) {
  shake();
  look();
  inner_tx_ += 100;
  look();
  wait(seconds(30));
  ASSERT_EQ(proof(), Proof::kUnanswered);
  shake();
  EXPECT_TRUE(look());
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(HealthTest, SendingOnWithoutAnswersDoesNotStartTheWaitAnew) {
  shake();
  look();
  for (int i = 0; i < 26; ++i) {
    inner_tx_ += 100;
    look();
    wait(seconds(1));
  }
  EXPECT_EQ(proof(), Proof::kUnanswered);
}

TEST_F(HealthTest, ALostSessionKeepsTheProofAndWaitsForAHandshake) {
  shake();
  look();
  handshake_.reset();  // the device was made again
  rx_ = 0;
  EXPECT_TRUE(look());
  EXPECT_EQ(proof(), Proof::kUnsettled);
  EXPECT_EQ(health_.deadline(), std::nullopt);
  wait(seconds(1));
  shake();
  EXPECT_TRUE(look());
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(HealthTest, AnAdoptedRouteIsProofThatStillWantsAHandshake) {
  health_.assume_proven(false);
  EXPECT_EQ(proof(), Proof::kUnsettled);
}

TEST_F(HealthTest, AnAdoptedRouteWithASessionIsProof) {
  health_.assume_proven(true);
  EXPECT_EQ(proof(), Proof::kProven);
  shake();
  inner_tx_ =
      1'000'000;  // counted before this process began: the first sample is where counting starts
  EXPECT_FALSE(look());
  wait(seconds(30));
  EXPECT_FALSE(look());
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(HealthTest, AHandshakeOfAnEarlierPublicationIsNoProof) {
  shake();
  wait(seconds(1));
  health_ = Health(now_.wall);
  look();
  EXPECT_EQ(proof(), Proof::kNever);
  wait(seconds(1));
  shake();
  look();
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(HealthTest, AfterAFallbackOnlyANewHandshakeProves) {
  shake();
  look();
  wait(seconds(60));
  health_.require_new_proof(now_.wall);
  EXPECT_EQ(proof(), Proof::kNever);
  rx_ += 100;
  look();
  EXPECT_EQ(proof(), Proof::kNever);
  wait(seconds(1));
  shake();
  look();
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST_F(HealthTest, AWallClockSetBackDoesNotMakeAPeerUnprovable) {
  health_ = Health(now_.wall);
  look();
  now_.wall -= std::chrono::hours(24);
  wait(seconds(1));
  look();
  wait(seconds(1));
  shake();
  look();
  EXPECT_EQ(proof(), Proof::kProven);
}

TEST(Backoff, DoublesUpToItsCapAndStartsOverWhenReset) {
  Backoff backoff(seconds(2), seconds(15));
  EXPECT_EQ(backoff.next(), seconds(2));
  EXPECT_EQ(backoff.next(), seconds(4));
  EXPECT_EQ(backoff.next(), seconds(8));
  EXPECT_EQ(backoff.next(), seconds(15));
  EXPECT_EQ(backoff.next(), seconds(15));
  backoff.reset();
  EXPECT_EQ(backoff.next(), seconds(2));
}

}  // namespace
}  // namespace mesh
