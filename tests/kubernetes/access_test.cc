#include "meshd/store/kubernetes/access.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "temporary_directory.h"

namespace mesh::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Result<KubernetesAccess> parse(const std::string& cluster, const std::string& user) {
  return parse_kubeconfig(
      fmt::format("apiVersion: v1\nkind: Config\ncurrent-context: b\n"
                  "contexts:\n- name: a\n  context: {{cluster: none, user: none}}\n"
                  "- name: b\n  context: {{cluster: c, user: u}}\n"
                  "clusters:\n- name: c\n  cluster: {}\nusers:\n- name: u\n  user: {}\n",
                  cluster, user),
      "/etc/kubeconfig", "/etc");
}

std::string error_of(const std::string& cluster, const std::string& user) {
  const auto access = parse(cluster, user);
  return access ? "no error" : access.error().message;
}

TEST(Kubeconfig, TheCurrentContextCounts) {
  const auto access = parse(
      "{server: 'https://192.0.2.1:6443/', certificate-authority: ca.crt, tls-server-name: "
      "kubernetes}",
      "{client-certificate: /pki/client.pem, client-key-data: a2V5}");
  ASSERT_TRUE(access) << access.error().message;
  EXPECT_EQ(access->server, "https://192.0.2.1:6443");
  EXPECT_EQ(access->server_name, "kubernetes");
  EXPECT_EQ(access->authority.file, "/etc/ca.crt");
  EXPECT_EQ(access->certificate.file, "/pki/client.pem");
  EXPECT_EQ(access->key.data, "key");
}

TEST(Kubeconfig, WhatCannotBeUsedIsSaidWithTheRemedy) {
  const std::string cluster = "{server: 'https://192.0.2.1'}";
  EXPECT_THAT(error_of(cluster, "{exec: {command: aws}}"),
              AllOf(HasSubstr("/etc/kubeconfig:14:"), HasSubstr("exec would run another program"),
                    HasSubstr("tokenFile")));
  EXPECT_THAT(error_of(cluster, "{auth-provider: {name: gcp}}"), HasSubstr("auth-provider"));
  EXPECT_THAT(error_of(cluster, "{username: u, password: p}"), HasSubstr("not taken"));
  EXPECT_THAT(error_of(cluster, "{client-certificate: c}"), HasSubstr("go together"));
  EXPECT_THAT(error_of(cluster, "{client-certificate-data: '%', client-key-data: a2V5}"),
              HasSubstr("not base64"));
  EXPECT_THAT(error_of("{server: 'https://a', insecure-skip-tls-verify: true}", "{}"),
              HasSubstr("certificate-authority"));
  EXPECT_THAT(error_of("{server: 'http://192.0.2.1', }", "{token: t}"), HasSubstr("in clear"));
  EXPECT_EQ(error_of("{server: 'http://127.0.0.1:8001'}", "{token: t}"), "no error");
  EXPECT_THAT(error_of("{server: 'ftp://a'}", "{}"), HasSubstr("must be a URL"));
  EXPECT_THAT(error_of("{server: 'https://user:secret@a'}", "{}"), HasSubstr("plain URL"));
  EXPECT_EQ(error_of("{server: 'https://user:secret@a'}", "{}").find("secret"), std::string::npos);
  for (const char* text : {"", "[]", "a: b", "current-context: x", "{", "current-context: {a: b}"})
    EXPECT_FALSE(parse_kubeconfig(text, "k", "/")) << text;
}

TEST(Kubeconfig, ATokenFileIsReadEachTimeAndMustBeOneLine) {
  const TemporaryDirectory directory;
  KubernetesAccess access;
  access.token_file = directory / "token";
  EXPECT_EQ(current_token(access).error().code, ErrorCode::kNotFound);
  std::ofstream(directory / "token") << "first\n";
  EXPECT_EQ(current_token(access).value(), "first");
  std::ofstream(directory / "token") << "second";
  EXPECT_EQ(current_token(access).value(), "second");
  for (const char* bad : {"", "\n", "secret\r\nX-Header: 1\n", "with space"}) {
    std::ofstream(directory / "token") << bad;
    const auto token = current_token(access);
    ASSERT_FALSE(token) << bad;
    EXPECT_EQ(token.error().message.find("secret"), std::string::npos);
  }
}

TEST(InCluster, OutsideOfAPodItSaysWhatToDo) {
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_THAT(in_cluster_access().error().message, HasSubstr("name a kubeconfig"));
  ::setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  EXPECT_EQ(in_cluster_access()->server, "https://[fd00::1]:443");
  ::unsetenv("KUBERNETES_SERVICE_HOST");
}

}  // namespace
}  // namespace mesh::testing
