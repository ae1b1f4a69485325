#include "core/announcement.h"

namespace mesh {
namespace {

// The value of an annotation, "" when it is absent: an empty annotation says as little as none.
std::string_view annotation(const NodeRecord& record, std::string_view key) {
  const auto found = record.annotations.find(std::string(key));
  return found == record.annotations.end() ? std::string_view() : std::string_view(found->second);
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

void read_key(const NodeRecord& record, Announcement& announcement) {
  const std::string_view text = annotation(record, kPublicKeyAnnotation);
  if (text.empty()) return;
  auto key = PublicKey::parse(text);
  if (key) {
    announcement.key = *key;
  } else {
    announcement.key_problem = fmt::format("{}: {}", kPublicKeyAnnotation, key.error().message);
  }
}

void read_endpoints(const NodeRecord& record, Announcement& announcement) {
  std::string_view rest = annotation(record, kEndpointAnnotation);
  if (rest.empty()) {
    for (const IpAddress& address : record.addresses)
      announcement.endpoints.push_back({address, kDefaultPort});
    return;
  }
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view item = trimmed(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    auto endpoint = Endpoint::parse(item);
    const std::string_view why =
        endpoint ? endpoint->address.why_not_reachable() : std::string_view();
    if (endpoint && why.empty()) {
      announcement.endpoints.push_back(*endpoint);
    } else if (endpoint) {
      announcement.problems.push_back(
          fmt::format("{}: '{}' is {}", kEndpointAnnotation, item, why));
    } else {
      announcement.problems.push_back(
          fmt::format("{}: {}", kEndpointAnnotation, endpoint.error().message));
    }
  }
}

void read_mode(const NodeRecord& record, Announcement& announcement) {
  const std::string_view text = annotation(record, kModeAnnotation);
  if (text.empty()) return;
  if (const auto mode = parse_mode(text)) {
    announcement.mode = *mode;
  } else {
    announcement.problems.push_back(
        fmt::format("{}: '{}' is not prefer, require or off; read as prefer", kModeAnnotation,
                    text.substr(0, 64)));
  }
}

}  // namespace

Announcement read_announcement(const NodeRecord& record) {
  Announcement announcement;
  read_key(record, announcement);
  read_endpoints(record, announcement);
  read_mode(record, announcement);
  announcement.support = annotation(record, kSupportAnnotation);
  announcement.unsupported = announcement.support.starts_with("none");
  const std::string_view host_traffic = annotation(record, kHostTrafficAnnotation);
  announcement.host_traffic = host_traffic == "true";
  if (!host_traffic.empty() && host_traffic != "true" && host_traffic != "false")
    announcement.problems.push_back(fmt::format("{}: '{}' is not true or false; read as false",
                                                kHostTrafficAnnotation,
                                                host_traffic.substr(0, 64)));
  return announcement;
}

std::map<std::string, std::string> write_announcement(const Announcement& announcement) {
  std::map<std::string, std::string> annotations;
  if (announcement.key) {
    annotations[std::string(kPublicKeyAnnotation)] = announcement.key->to_base64();
    std::string endpoints;
    for (const Endpoint& endpoint : announcement.endpoints)
      endpoints += (endpoints.empty() ? "" : ",") + endpoint.to_string();
    if (!endpoints.empty()) annotations[std::string(kEndpointAnnotation)] = endpoints;
  }
  if (!announcement.support.empty())
    annotations[std::string(kSupportAnnotation)] = announcement.support;
  annotations[std::string(kModeAnnotation)] = to_string(announcement.mode);
  annotations[std::string(kHostTrafficAnnotation)] = announcement.host_traffic ? "true" : "false";
  return annotations;
}

}  // namespace mesh
