#!/bin/sh
# `make check`: linters and types. `make test`: those and every test, where a skipped test is a failure.
# Every stage runs, whatever the one before it said; the last line counts them.
#
#   scripts/dev/stages.sh check|test

cd "${0%/*}/../.." || exit 1
verb=$1
export PATH="$PWD/.deps/venv/bin:$PWD/.deps/node_modules/bats/bin:$PATH"
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
started=$(date +%s)
count=0
failed=

stage() { # stage NAME COMMAND…
    name=$1
    shift
    count=$((count + 1))
    printf '\n== %s\n' "$name"
    "$@" || failed="$failed, $name"
}

sh_files() {
    find bin .ci scripts tests -type f \( -name '*.sh' -o -name '*.bats' -o -path 'bin/*' -o -path '.ci/*' \)
}

some_e2e_test() {
    python -m pytest tests/e2e --collect-only --quiet --quiet >/dev/null && echo "found" && return
    echo "no end-to-end test can be collected"
    return 1
}

stage "ruff check" ruff check --quiet
stage "ruff format" ruff format --check --quiet
stage "mypy" mypy
stage "import-linter" env PYTHONPATH=scripts/ops lint-imports --no-logo
# shellcheck disable=SC2046 # none of these names has a space in it
stage "shellcheck" shellcheck --external-sources $(sh_files)

# Tests write and sync a great deal; in memory they wait for no disk. Only where there is plenty of it and files there
# can be run.
use_memory() {
    scratch=$(mktemp -d /dev/shm/backlog-ops-tests.XXXXXX 2>/dev/null) || return 0
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT TERM HUP
    free=$(df -Pk "$scratch" | awk 'NR == 2 { print $4 }')
    printf '#!/bin/sh\n' >"$scratch/probe" && chmod +x "$scratch/probe"
    if [ "${free:-0}" -ge 4000000 ] && "$scratch/probe" 2>/dev/null; then
        export TMPDIR="$scratch"
    fi
}

if [ "$verb" = test ]; then
    use_memory
    stage "bats" bats tests
    stage "configuration schema" bash tests/test-config-schema.sh
    stage "end-to-end tests exist" some_e2e_test
    stage "pytest" env BACKLOG_REQUIRE_ALL=1 python -m pytest tests --numprocesses=3 --dist=loadfile \
        --no-loadscope-reorder --timeout=300 --quiet
fi

seconds=$(($(date +%s) - started))
if [ -n "$failed" ]; then
    printf '\nmake %s: failed after %s s: %s\n' "$verb" "$seconds" "${failed#, }"
    exit 1
fi
printf '\nmake %s: all %s stages passed in %s s\n' "$verb" "$count" "$seconds"
