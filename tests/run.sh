#!/bin/bash
# All tests, from a fresh checkout: installs what is missing, builds, runs, and ends with one line
# "N passed, N failed, N skipped" over all of them. Exits 0 only when none failed and some passed.
#
#   tests/run.sh           the quick tier: unit and system tests, fuzz regressions, the lab natively,
#                          the lab on the kernel's WireGuard (in a virtual machine if need be), format
#   tests/run.sh --full    also the whole lab matrix, ASan/UBSan and TSan builds, clang-tidy, kernel 6.12
#   tests/run.sh --no-vm   leaves the virtual machine out; what that skips is said
#   tests/run.sh --only REGEX [--full]
#                          only the suites whose names (as the summary has them) match: a run of
#                          --full in parts
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../netns-harness/prepare.sh"
cd "$root_of_checkout"

full=false vm=true only=.
while (($#)); do
  case $1 in
    --full) full=true ;;
    --no-vm) vm=false ;;
    --only) only=${2:?--only needs a regular expression}; shift ;;
    *) echo "unknown option $1; see the head of $0" >&2; exit 2 ;;
  esac
  shift
done

matrix=$full
results=$root_of_checkout/build/results
rm -rf "$results"
mkdir -p "$results"
passed=0 failed=0 skipped=0
summary=() failures=() skips=()

# --- counting -------------------------------------------------------------------------------------

# Prints "passed failed skipped" of a report as GoogleTest or CTest write it (JUnit's XML), then a
# line "F name" for each failure and "S name: reason" for each skip.
read_report() {
  awk '
    function attribute(line, name,   at, rest) {
      at = index(line, " " name "=\"")
      if (!at) return ""
      rest = substr(line, at + length(name) + 3)
      return substr(rest, 1, index(rest, "\"") - 1)
    }
    function finish() {
      if (name == "") return
      if (disabled) { name = ""; return }
      if (is_failed) { f++; lines = lines "F " name "\n" }
      else if (is_skipped) { s++; lines = lines "S " name ": " (reason == "" ? "no reason given" : reason) "\n" }
      else p++
      name = ""
    }
    /<testcase / {
      finish()
      class = attribute($0, "classname")
      name = attribute($0, "name")
      if (class != "" && class != name) name = class "." name
      status = attribute($0, "status")
      is_failed = (status == "fail")
      is_skipped = (status == "notrun" && attribute($0, "result") != "suppressed") || attribute($0, "result") == "skipped"
      disabled = (status == "disabled") || attribute($0, "result") == "suppressed"
      reason = ""; want = 0
    }
    name != "" && /<failure|<error/ { is_failed = 1 }
    name != "" && /<skipped/ {
      is_skipped = 1
      reason = attribute($0, "message")
      if (reason ~ /^SKIP_/) reason = ""
      sub(/^[^ ]*:[0-9]+&#x0A;/, "", reason)
      gsub(/&#x0A;/, " ", reason)
    }
    # A script says it in a line of its own.
    name != "" && is_skipped && reason == "" && match($0, /SKIPPED: .*/) { reason = substr($0, RSTART + 9) }
    # CTest keeps what the test said: GoogleTest gives the reason on the line after "Skipped".
    name != "" && want { if (reason == "") reason = $0; want = 0 }
    name != "" && / Skipped$/ { want = 1 }
    END { finish(); printf "%d %d %d\n%s", p, f, s, lines }
  ' "$1"
}

# count SUITE REPORT CODE: a suite that left no report, that failed without a failed test, or of which
# nothing passed, is a failure.
count() {
  local suite=$1 report=$2 code=$3 p=0 f=0 s=0 line
  if [ -s "$report" ]; then
    {
      read -r p f s
      while read -r line; do
        case $line in
          F\ *) failures+=("$suite: ${line#F }") ;;
          S\ *) skips+=("$suite: ${line#S }") ;;
        esac
      done
    } < <(read_report "$report")
  fi
  if [ "$code" != 0 ] && [ "$f" = 0 ]; then
    f=1
    failures+=("$suite: ended with code $code before it could say what failed")
  elif [ "$((p + f))" = 0 ]; then
    f=1
    failures+=("$suite: no test passed, $s were skipped")
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  summary+=("$(printf '%6d passed %4d failed %4d skipped %6d s   %s' "$p" "$f" "$s" "$((SECONDS - started))" "$suite")")
}

wanted() { [[ $1 =~ $only ]]; }

# check NAME COMMAND…: a check that either passes or does not.
check() {
  local name=$1
  shift
  wanted "$name" || return 0
  say "$name"
  started=$SECONDS
  if "$@"; then
    passed=$((passed + 1))
    summary+=("$(printf '%6d passed %4d failed %4d skipped %6d s   %s' 1 0 0 "$((SECONDS - started))" "$name")")
  else
    failed=$((failed + 1)) failures+=("$name")
    summary+=("$(printf '%6d passed %4d failed %4d skipped %6d s   %s' 0 1 0 "$((SECONDS - started))" "$name")")
  fi
}

# --- the suites -----------------------------------------------------------------------------------

formatted() {
  git ls-files -z '*.h' '*.cc' | xargs -0 clang-format-14 --dry-run -Werror
}

# Unit tests, system tests and fuzz regressions: everything CTest knows but the lab.
ctests() { # SUITE BUILD [CTEST OPTION…]
  local suite=$1 build=$2 report code=0
  shift 2
  wanted "$suite" || return 0
  say "$suite"
  started=$SECONDS
  report=$results/${suite//[^a-z0-9]/-}.xml
  as_root ctest --test-dir "$build" -LE lab --parallel "$(nproc)" --timeout 300 --output-on-failure \
    --no-tests=error --output-junit "$report" "$@" --quiet -O "$report.log" || code=$?
  [ "$code" = 0 ] || tail -n 200 "$report.log"
  count "$suite" "$report" "$code"
}

# The API server is built once for a machine, beside everything else; see the head of the script.
start_api_server_build() {
  nice -n 19 netns-harness/kubernetes/build-apiserver.sh >"$results/build-apiserver.log" 2>&1 &
  api_server_build=$!
}

# What is built and installed here (tests/required.h): a test that misses any of it fails. The API
# server is left out only where this machine cannot build it, which is said; a build that fails is one.
required=
await_api_server() {
  local code=0 why
  [ -z "$required" ] || return 0
  required="programs servers kube-apiserver"
  wait "$api_server_build" || code=$?
  [ "$code" != 0 ] || return 0
  why=$(tail -n 1 "$results/build-apiserver.log")
  echo "!!! $why" >&2
  if [ "$code" = 3 ]; then
    required="programs servers"
    skips+=("$why")
  else
    failed=$((failed + 1)) failures+=("$why")
  fi
}

kubernetes() { # SUITE BUILD
  local suite=$1 build=$2 report code=0
  wanted "$suite" || return 0
  say "$suite"
  started=$SECONDS
  await_api_server
  if [[ $required != *kube-apiserver* ]]; then
    skipped=$((skipped + 1))
    return 0
  fi
  report=$results/${suite//[^a-z0-9]/-}.xml
  as_root env HOME="$HOME" ${XDG_CACHE_HOME:+XDG_CACHE_HOME="$XDG_CACHE_HOME"} MESHD_TESTS_REQUIRE="$required" timeout 900 \
    "$build/tests/kubernetes/kubernetes_test" --gtest_brief=1 --gtest_output="xml:$report" || code=$?
  count "$suite" "$report" "$code"
}

lab_filter() { $matrix && echo '*' || echo '-Matrix/*'; }

lab() { # SUITE BUILD
  local suite=$1 build=$2 report code=0
  wanted "$suite" || return 0
  say "$suite"
  started=$SECONDS
  await_api_server
  report=$results/${suite//[^a-z0-9]/-}.xml
  as_root env MESHD_LAB_PATIENCE="${MESHD_LAB_PATIENCE:-1}" MESHD_TESTS_REQUIRE="$required" \
    timeout 2400 "$build/tests/lab/lab_test" --gtest_filter="$(lab_filter)" --gtest_brief=1 \
    --gtest_output="xml:$report" || code=$?
  count "$suite" "$report" "$code"
}

# Emulation is slow. The quick tier leaves out what needs no WireGuard (the judges, the lab itself), and of
# the rest what takes long there and has run natively: whole rows of leaks, faults and chaos, hostile
# records, policies, services, accounts, failsafe ports, refusals, MTUs. --full runs these on the kernel, too.
kernel_programs() { echo wireguard_kernel_test lab_test; ! $matrix || echo dataplane_system_test; }
# The servers of stores are not in the machine, and do not depend on the kernel.
kernel_filter() { $matrix && echo '-*/OnEtcd.*:*/OnKubernetes.*' || echo '-*/OnEtcd.*:*/OnKubernetes.*:Matrix/*:Judge.*:Order.*:WallClock.*:Growth.*:FaultTable.*:LeakTable.*:Infrastructure.*:Demo.*:FaultBench.*:ChaosRun.*:*/Leaks.*:*/Hostile.*:*/Policy.*:*/Services.*:*/Accounts.*:*/Failsafe.*:*/Refusal.*:*/Mtu.*:*/HostTraffic.UnderRequire*:*/Fault.ALostDeviceWhile*:*/Transition.*TheNodeItself*'; }

# The programs whose tests need a kernel with WireGuard, on such a kernel.
on_the_kernel() { # KERNEL BUILD
  local kernel=$1 build=$2 program name code=0 out script with=()
  wanted "kernel $kernel" || return 0
  say "on kernel WireGuard ($kernel)"
  started=$SECONDS
  out=$results/kernel-$kernel
  script=
  for name in $(kernel_programs); do
    program=$(find "$build/tests" -name "$name" -type f | head -1)
    if [ -z "$program" ]; then
      failed=$((failed + 1)) failures+=("kernel $kernel: $name is not built")
      continue
    fi
    with+=(--with "$program")
    script+="$program --gtest_filter='$(kernel_filter)' --gtest_brief=1 --gtest_output=xml:\$MESHD_LAB_RESULTS/$name.xml
echo \$? >\$MESHD_LAB_RESULTS/$name.code
"
  done
  for program in meshd/daemon/meshd meshd/ctl/meshctl netns-harness/mesh-lab; do
    with+=(--with "$build/$program")
  done
  as_root env HOME="$HOME" ${XDG_CACHE_HOME:+XDG_CACHE_HOME="$XDG_CACHE_HOME"} netns-harness/vm/run.sh \
    --kernel "$kernel" --env MESHD_TESTS_REQUIRE=programs --timeout "$($matrix && echo 9000 || echo 1200)" --results "$out" "${with[@]}" \
    -- bash -c "$script" || code=$?
  for name in $(kernel_programs); do
    if [ -e "$out/$name.code" ]; then
      count "kernel $kernel: $name" "$out/$name.xml" "$(cat "$out/$name.code")"
    else
      failed=$((failed + 1)) failures+=("kernel $kernel: $name did not come to its end")
    fi
    started=$SECONDS
  done
  if [ "$code" != 0 ]; then
    failed=$((failed + 1)) failures+=("kernel $kernel: the machine ended with code $code")
  fi
}

tidy() {
  git ls-files -z '*.cc' | grep -zv '^tests/fuzz/' |
    xargs -0 -P "$(nproc)" -n 4 clang-tidy-14 -p build/release --quiet
}

# --- the end: what ran, what was skipped and why, what failed, and the one line ----------------------

finish() {
  echo
  printf '%s\n' "${summary[@]:-}"
  if ((${#skips[@]})); then
    echo
    echo "Skipped:"
    printf '  %s\n' "${skips[@]}"
  fi
  if ((${#failures[@]})); then
    echo
    echo "Failed:"
    printf '  %s\n' "${failures[@]}"
  fi
  echo
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

# shellcheck disable=SC2086
need $build_packages $lab_packages $store_packages $api_server_packages $check_packages $($vm && echo $vm_packages || true) $($full && echo $full_packages || true)

command -v kubectl >/dev/null || need kubernetes-client
start_api_server_build

try_build() { # PRESET: whether it builds; a failure is counted
  started=$SECONDS
  if build "$1"; then
    summary+=("$(printf '%47s %d s   build (%s)' '' "$((SECONDS - started))" "$1")")
  else
    failed=$((failed + 1)) failures+=("build ($1)")
    return 1
  fi
}

if ! try_build release; then
  finish
  exit 1
fi
check "clang-format" formatted
ctests "unit and system tests" build/release
kubernetes "kubernetes" build/release
lab "lab" build/release
if $vm; then
  on_the_kernel 6.1 build/release
else
  skipped=$((skipped + 1)) skips+=("kernel: left out by --no-vm")
fi

if $full; then
  # The matrix varies address families, which the sanitizers and the newer kernel do not.
  matrix=false
  if { wanted "unit and system tests (ASan, UBSan)" || wanted "lab (ASan, UBSan)"; } && try_build asan; then
    ctests "unit and system tests (ASan, UBSan)" build/asan
    MESHD_LAB_PATIENCE=3 lab "lab (ASan, UBSan)" build/asan
  fi
  if { wanted "unit and system tests (TSan)" || wanted "lab (TSan)"; } && try_build tsan; then
    # The lab forks, and its children have threads: TSan would end them for that alone.
    export TSAN_OPTIONS="die_after_fork=0 suppressions=$root_of_checkout/tests/tsan.supp"
    ctests "unit and system tests (TSan)" build/tsan
    MESHD_LAB_PATIENCE=4 lab "lab (TSan)" build/tsan
    unset TSAN_OPTIONS
  fi
  if $vm; then on_the_kernel 6.12 build/release; fi
  check "clang-tidy" tidy
fi

finish
