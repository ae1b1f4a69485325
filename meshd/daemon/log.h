// Structured logging: one line an event, as text for people or JSON for machines, with the fields
// that matter beside it.
//
// Any thread. Never given a secret: keys appear as public keys only.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "meshd/daemon/config.h"

namespace mesh::log {

using Fields = std::initializer_list<std::pair<std::string_view, std::string>>;

// To stderr. `node` is in every line.
void configure(const LogConfig& config, std::string node);

void debug(std::string_view message, Fields fields = {});
void info(std::string_view message, Fields fields = {});
void warn(std::string_view message, Fields fields = {});
void error(std::string_view message, Fields fields = {});

}  // namespace mesh::log
