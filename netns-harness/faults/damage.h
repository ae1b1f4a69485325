// How things are broken: what rows of the table of faults and the chaos run have in common.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "lab/lab.h"

namespace mesh::lab {

// The wireguard-go processes of a node, by its namespace: never by name alone.
[[nodiscard]] std::vector<int> wireguard_go_of(const Lab& lab, const Node& node);
void kill_wireguard_go(const Lab& lab, const Node& node);

// Keys of nobody.
[[nodiscard]] std::string fresh_private_key();
[[nodiscard]] std::string public_key_of(const std::string& private_key);
[[nodiscard]] std::string fresh_public_key();
[[nodiscard]] std::string published_key(const Lab& lab, const Node& node);

void rename_device(const Node& node, const std::string& from, const std::string& to);
void set_private_key(const Node& node, const std::string& private_key,
                     const std::string& device = "mesh0");
[[nodiscard]] std::vector<std::string> split_words(const std::string& words);
// The command with its words separated by spaces; it must succeed.
void must(const Node& node, const std::string& words);

// A node loses all that a kernel holds of a mesh, as by a reboot. meshd must not run.
void forget_everything(const Lab& lab, const Node& node);

// Every UDP packet that arrives at `node` and comes from `from` is dropped, in a table of the
// lab's own, until let_all_in().
void drop_udp(const Node& node, const Node& from);
void let_all_in(const Node& node);

// The whole machine is the lab's, clock and all: the virtual machine says so
// (MESHD_LAB_OWN_MACHINE).
[[nodiscard]] bool owns_machine();
inline constexpr const char* kClockIsOthers = "the clock of this machine is not the lab's alone";
// Sets CLOCK_REALTIME; only where owns_machine().
void step_wall_clock(std::chrono::seconds by);

}  // namespace mesh::lab
