// PairPolicies: what the policies say of each pair that this node is one side of.
//
// The first policy, in their order, that matches with the two sides either way round decides; both
// sides ask the same policies about the same labels, so both decide alike. Pure; one thread; inputs
// are noted, settle() works.
//
// Cost: of all policies only those whose selectors could mean this node are kept in a list, and
// what each selector says of a peer is remembered until its labels change. A change of a peer's
// labels is one walk along that list; a change of mine, or of a policy that could concern me, one
// for each peer, with remembered answers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/policies.h"

namespace mesh {

// What the policies say of one pair.
struct PairPolicy {
  std::string policy;        // the name of the one that decides; "": none does
  std::optional<Mode> mode;  // its word; empty: the nodes' own modes decide
  // A policy that never could be read and might come first for this pair; "": there is none. While
  // there is, the pair must not become weaker than it was.
  std::string unreadable;
  friend bool operator==(const PairPolicy&, const PairPolicy&) = default;
};

class PairPolicies {
 public:
  void set_policies(const Policies& policies);
  void set_own(const Labels& labels);
  void set_peer(const std::string& node, std::shared_ptr<const StoreEntry> record);  // a NodeRecord
  void remove_peer(const std::string& node);

  // Returns the peers of which the policies say something else than before.
  std::set<std::string> settle();
  // As of the last settle().
  const PairPolicy& of(const std::string& node) const;
  // How many walks along the list settle() has made, for tests of its cost.
  std::uint64_t walks() const { return walks_; }

 private:
  using SelectorId = std::size_t;
  static constexpr SelectorId kUnknown = static_cast<SelectorId>(-1);  // means every node

  // Each selector once, however many policies have it.
  class Table {
   public:
    // Begins anew: what is not interned until the end of the round is dropped.
    void begin() { ++round_; }
    SelectorId intern(const Selector& selector);
    std::vector<SelectorId> end();  // the ids that may mean something else from now on
    const Selector& at(SelectorId id) const { return slots_[id].selector; }

   private:
    struct Slot {
      Selector selector;
      std::uint64_t round = 0;
    };
    std::uint64_t round_ = 0;
    std::vector<Slot> slots_;
    std::map<std::string, SelectorId> ids_;  // by the selector's text
    std::vector<SelectorId> free_;
  };

  // What is known of the selectors' answers for one node.
  class Answers {
   public:
    bool ask(const Table& table, SelectorId id, const Labels& labels);
    void forget(SelectorId id);
    void clear() { answers_.clear(); }

   private:
    enum class Answer : std::uint8_t { kUnknown, kNo, kYes };
    std::vector<Answer> answers_;
  };

  struct Peer {
    std::shared_ptr<const StoreEntry> record;
    Answers answers;
    PairPolicy says;
    const Labels& labels() const { return std::get<NodeRecord>(*record).labels; }
  };

  struct Candidate {
    std::string name;
    double order = 0;
    std::optional<Mode> mode;  // empty: it cannot be read
    SelectorId selector = kUnknown;
    SelectorId peer_selector = kUnknown;
    // Which side this node can be.
    bool as_selected = false;
    bool as_peer = false;
    friend bool operator==(const Candidate&, const Candidate&) = default;
  };

  void list_mine();
  PairPolicy walk(Peer& peer);

  Labels own_;
  Table table_;
  Answers own_answers_;
  std::vector<Candidate> all_;   // in their order
  std::vector<Candidate> mine_;  // those that could mean this node
  std::map<std::string, Peer> peers_;
  std::set<std::string> dirty_;
  bool list_dirty_ = false;
  std::uint64_t walks_ = 0;
};

}  // namespace mesh
