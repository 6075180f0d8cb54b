#!/usr/bin/env bats
# shellcheck disable=SC2016 # dollar signs that must not expand are the point
# The shell half of the hooks: which run is open where a session is, and what is started for which hook.
# The Python of the mark is a stand-in that prints what reached it; what it decides is tested in tests/integration.

bats_require_minimum_version 1.5.0

setup() {
    export HOME="$BATS_TEST_TMPDIR/home"
    unset XDG_STATE_HOME CLAUDE_PROJECT_DIR CLAUDE_ENV_FILE BACKLOG_CHILD
    TMP=$(cd -P "$BATS_TEST_TMPDIR" && pwd)
    repository=$TMP/repo
    mkdir -p "$HOME" "$repository/src/deep"
    make_plugin "$TMP/plugin"
    mark "$HOME/.local/state" "$repository"
    cd "$repository" || return
}

make_plugin() { # make_plugin FOLDER: hook.sh, and a Python that tells how it was started
    plugin=$1
    mkdir -p "$plugin/scripts/ops/hooks"
    cp "$BATS_TEST_DIRNAME/../scripts/ops/hooks/hook.sh" "$plugin/scripts/ops/hooks/"
    witness >"$TMP/python"
    chmod +x "$TMP/python"
}

witness() {
    printf '#!/bin/sh\nprintf "<%%s>" "${0##*/}" "$@"\nprintf " in %%s reads " "$PWD"\ncat\n'
}

mark() { # mark STATE REPOSITORY: a run is open there
    mkdir -p "$1/backlog-ops/open$2"
    printf '%s\n' "$TMP/python" "$TMP/state.db" >"$1/backlog-ops/open$2/run"
}

hook() { # hook NAME: as Claude Code calls it
    run --separate-stderr sh "$plugin/scripts/ops/hooks/hook.sh" "$1" <<<"the event"
    [ "$status" -eq 0 ]
    [ "$stderr" = "" ]
}

guard_of() { # guard_of ROOT NAME: what the guard is started with
    printf '<python><-ISE><%s/scripts/ops/hooks/guard.py><%s><%s>' "$1" "$2" "$TMP/state.db"
}

engine_of() { # engine_of NAME: what the engine is started with
    printf '<python><-Es><%s/scripts/ops/backlog_ops/__main__.py><hook><%s>' "$plugin" "$1"
}

@test "a guard is run by the Python of the mark, on its database, with the event" {
    local name
    for name in agent write bash; do
        hook "$name"
        [ "$output" = "$(guard_of "$plugin" "$name") in $repository reads the event" ]
    done
}

@test "a hand-over is the engine, run by the Python of the mark, in the repository, with the event" {
    local name
    cd src
    for name in returned stopped woken session settle; do
        hook "$name"
        [ "$output" = "$(engine_of $name) in $repository reads the event" ]
    done
}

@test "a folder below the repository is in it" {
    cd src/deep
    hook agent
    [ "$output" = "$(guard_of "$plugin" agent) in $repository/src/deep reads the event" ]
}

@test "a folder that a link leads to is where it really lies" {
    ln -s "$repository/src" "$TMP/link"
    cd "$TMP/link"
    hook woken
    [ "$output" = "$(engine_of woken) in $repository reads the event" ]
}

@test "a session that has gone elsewhere is still in its project" {
    cd /
    CLAUDE_PROJECT_DIR=$repository/src hook woken
    [ "$output" = "$(engine_of woken) in $repository reads the event" ]
}

@test "where a session is counts before its project" {
    mkdir "$TMP/other"
    mark "$HOME/.local/state" "$TMP/other"
    CLAUDE_PROJECT_DIR=$TMP/other hook woken
    [ "$output" = "$(engine_of woken) in $repository reads the event" ]
}

@test "the nearest run counts" {
    mark "$HOME/.local/state" "$repository/src"
    cd src/deep
    hook woken
    [ "$output" = "$(engine_of woken) in $repository/src reads the event" ]
}

@test "a run in the root folder is found too" {
    rm -r "$HOME/.local/state/backlog-ops/open/"*
    mark "$HOME/.local/state" ""
    hook woken
    [ "$output" = "$(engine_of woken) in / reads the event" ]
}

@test "elsewhere nothing is started" {
    local name
    cd "$TMP"
    for name in agent write bash returned stopped woken session settle; do
        hook "$name"
        [ "$output" = "" ]
    done
}

@test "a folder whose name only begins like the repository's is elsewhere" {
    mkdir "$TMP/repository"
    cd "$TMP/repository"
    hook woken
    [ "$output" = "" ]
}

@test "a path may hold spaces, quotes, dollar signs, brackets and backslashes" {
    local odd="$TMP/a  b'c\"d\$HOME[e]*\\f"
    mkdir -p "$odd/src"
    mark "$HOME/.local/state" "$odd"
    make_plugin "$TMP/it's a [plugin] \$x"
    cd "$odd/src"
    hook woken
    [ "$output" = "$(engine_of woken) in $odd reads the event" ]
    hook agent
    [ "$output" = "$(guard_of "$plugin" agent) in $odd/src reads the event" ]
}

@test "the state folder may be elsewhere, by an absolute path" {
    rm -r "$HOME/.local"
    mark "$TMP/state" "$repository"
    XDG_STATE_HOME=$TMP/state hook woken
    [ "$output" = "$(engine_of woken) in $repository reads the event" ]
}

@test "a relative state folder is ignored, as the specification says" {
    XDG_STATE_HOME=elsewhere hook woken
    [ "$output" = "$(engine_of woken) in $repository reads the event" ]
}

@test "the engine's own Claude Code is left alone" {
    local name
    for name in agent write bash returned stopped woken session settle; do
        CLAUDE_ENV_FILE=$TMP/env BACKLOG_CHILD=1 hook "$name"
        [ "$output" = "" ]
    done
    [ ! -e "$TMP/env" ]
}

@test "whatever a guard or the engine ends with, a hook ends with zero and says nothing on stderr" {
    printf '#!/bin/sh\necho oops >&2\nexit 2\n' >"$TMP/python"
    local name
    for name in agent write bash returned stopped woken session settle; do
        hook "$name"
        [ "$output" = "" ]
    done
}

@test "a Python that is no absolute path is never run: a checkout could bring its own" {
    cp "$TMP/python" python
    printf '%s\n' ./python "$TMP/state.db" >"$HOME/.local/state/backlog-ops/open$repository/run"
    hook agent
    [ "$output" = "" ]
    printf '%s\n' python "$TMP/state.db" >"$HOME/.local/state/backlog-ops/open$repository/run"
    PATH=$repository:$PATH hook agent
    [ "$output" = "" ]
}

@test "a CDPATH, a strange IFS and options of the caller change nothing" {
    export CDPATH=/usr:/tmp IFS=/
    hook woken
    unset IFS
    [ "$output" = "$(engine_of woken) in $repository reads the event" ]
}

@test "no other program is started outside a run" {
    cd "$TMP"
    mkdir "$TMP/empty"
    local name shell
    shell=$(command -v sh)
    for name in agent write bash returned stopped woken session settle; do
        run --separate-stderr env CLAUDE_ENV_FILE="$TMP/env" PATH="$TMP/empty" \
            "$shell" "$plugin/scripts/ops/hooks/hook.sh" "$name"
        [ "$status" -eq 0 ]
        [ "$output$stderr" = "" ]
    done
    [ "$(cat "$TMP/env")" = "export BACKLOG_ROOT='$plugin'" ]
}

@test "every hook that the host calls is one that hook.sh knows" {
    local name names
    names=$(grep -o '"[a-z]*"$' "$BATS_TEST_DIRNAME/../hooks/hooks.json" | tr -d '"' | sort -u)
    [ "$(wc -l <<<"$names")" -eq 8 ]
    for name in $names; do
        hook "$name"
        [[ "$output" == *"reads the event" ]]
    done
}
