#!/bin/bash
# The demo, from a fresh checkout: installs what is missing, builds, and runs `mesh-lab demo`.
# Options go to it: --keep leaves the mesh standing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/prepare.sh"

# shellcheck disable=SC2086
need $build_packages $lab_packages
(cd "$root_of_checkout" && build release meshd meshctl mesh-lab)
echo
as_root "$root_of_checkout/build/release/netns-harness/mesh-lab" demo "$@"
