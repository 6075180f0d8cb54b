#!/usr/bin/env bats
# shellcheck disable=SC2016 # dollar signs that must not expand are the point
# The shell half of the launcher: it finds itself, finds the prepared environment, and hands everything over.
# The environment here is a stand-in whose "Python" prints its arguments; tests/integration/test_launcher.py
# builds real ones.

bats_require_minimum_version 1.5.0

setup() {
    export HOME="$BATS_TEST_TMPDIR/home" XDG_CACHE_HOME="$BATS_TEST_TMPDIR/cache"
    unset BACKLOG_PYTHON
    make_plugin "$BATS_TEST_TMPDIR/plugin"
}

make_plugin() { # make_plugin FOLDER: the launcher's files in FOLDER, and an environment prepared for them
    plugin=$1
    local source="$BATS_TEST_DIRNAME/.."
    mkdir -p "$plugin/bin" "$plugin/scripts/ops" "$plugin/config"
    cp "$source/bin/backlog-ops" "$plugin/bin/"
    cp "$source/scripts/ops/llm_call.sh" "$plugin/scripts/ops/"
    cp -R "$source/scripts/ops/launcher" "$plugin/scripts/ops/"
    cp "$source/config/requirements.lock" "$plugin/config/"
    prepare "$XDG_CACHE_HOME/backlog-ops"
}

prepare() { # prepare BASE: a stand-in environment under BASE
    local checksum
    checksum=$(cksum <"$plugin/config/requirements.lock")
    mkdir -p "$1/venv-${checksum%% *}/bin"
    printf '#!/bin/sh\nfor each; do printf "<%%s>\\n" "$each"; done\n' >"$1/venv-${checksum%% *}/bin/python"
    chmod +x "$1/venv-${checksum%% *}/bin/python"
}

cli_of() { # cli_of ROOT: how the started script is named
    printf '<%s/scripts/ops/backlog_ops/__main__.py>' "$1"
}

@test "it starts the command-line interface with the arguments as they are" {
    run "$plugin/bin/backlog-ops" --flag "two words" "" '$(touch x)' "*"
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "<-Es>" ]
    [ "${lines[1]}" = "$(cli_of "$plugin/bin/..")" ]
    [ "${lines[*]:2}" = '<--flag> <two words> <> <$(touch x)> <*>' ]
}

@test "an argument may hold a newline" {
    run "$plugin/bin/backlog-ops" $'a\nb'
    [ "$status" -eq 0 ]
    [ "${lines[2]}${lines[3]}" = "<ab>" ]
}

@test "it works from any folder, called by a relative path" {
    mkdir -p "$BATS_TEST_TMPDIR/else where"
    cd "$BATS_TEST_TMPDIR/else where"
    run ../plugin/bin/backlog-ops x
    [ "$status" -eq 0 ]
    [ "${lines[2]}" = "<x>" ]
}

@test "it works from its own folder, named to a shell without a path" {
    cd "$plugin/bin"
    run sh backlog-ops x
    [ "$status" -eq 0 ]
    [ "${lines[2]}" = "<x>" ]
}

@test "it works through the PATH" {
    PATH="$plugin/bin:$PATH" run backlog-ops x
    [ "$status" -eq 0 ]
    [ "${lines[2]}" = "<x>" ]
}

@test "it works through a chain of absolute and relative symbolic links" {
    mkdir "$BATS_TEST_TMPDIR/links"
    ln -s "$plugin/bin/backlog-ops" "$BATS_TEST_TMPDIR/links/first"
    ln -s first "$BATS_TEST_TMPDIR/links/second"
    ln -s links/second "$BATS_TEST_TMPDIR/third"
    run "$BATS_TEST_TMPDIR/third" x
    [ "$status" -eq 0 ]
    [ "${lines[1]}" = "$(cli_of "$plugin/bin/..")" ]
}

@test "it works through a symbolic link to its folder" {
    ln -s plugin/bin "$BATS_TEST_TMPDIR/linked"
    run "$BATS_TEST_TMPDIR/linked/backlog-ops" x
    [ "$status" -eq 0 ]
    [ "${lines[2]}" = "<x>" ]
}

@test "the plugin's path may hold spaces, quotes, a dollar sign and newlines" {
    make_plugin "$BATS_TEST_TMPDIR/"$' a  b\'c"d$HOME\ne\n'
    ln -s "$plugin/bin/backlog-ops" "$BATS_TEST_TMPDIR/"$'link\n'
    run "$BATS_TEST_TMPDIR/"$'link\n' x
    [ "$status" -eq 0 ]
    [ "$output" = "<-Es>"$'\n'"$(cli_of "$plugin/bin/..")"$'\n<x>' ]
}

@test "the plugin's path may begin with a dash" {
    make_plugin "$BATS_TEST_TMPDIR/-e"
    cd "$BATS_TEST_TMPDIR"
    run sh -- -e/bin/backlog-ops x
    [ "$status" -eq 0 ]
    [ "${lines[2]}" = "<x>" ]
}

@test "standard input is left for the script" {
    printf '#!/bin/sh\ncat\n' >"$XDG_CACHE_HOME"/backlog-ops/venv-*/bin/python
    run "$plugin/bin/backlog-ops" <<<"the prompt"
    [ "$output" = "the prompt" ]
}

@test "the script's exit code is the launcher's" {
    printf '#!/bin/sh\nexit 6\n' >"$XDG_CACHE_HOME"/backlog-ops/venv-*/bin/python
    run "$plugin/bin/backlog-ops"
    [ "$status" -eq 6 ]
}

@test "a signal to the launcher reaches the script: they are one process" {
    printf '#!/bin/sh\necho $$\n' >"$XDG_CACHE_HOME"/backlog-ops/venv-*/bin/python
    "$plugin/bin/backlog-ops" >"$BATS_TEST_TMPDIR/pid" &
    local pid=$!
    wait "$pid"
    [ "$(cat "$BATS_TEST_TMPDIR/pid")" = "$pid" ]
}

@test "without HOME the cache folder is enough" {
    run env -u HOME "$plugin/bin/backlog-ops" x
    [ "$status" -eq 0 ]
    [ "${lines[2]}" = "<x>" ]
}

@test "without XDG_CACHE_HOME it looks under HOME" {
    rm -r "$XDG_CACHE_HOME"
    prepare "$HOME/.cache/backlog-ops"
    run env -u XDG_CACHE_HOME "$plugin/bin/backlog-ops" x
    [ "$status" -eq 0 ]
    [ "${lines[2]}" = "<x>" ]
}

@test "llm_call.sh starts llm_call.py, under bash and under sh" {
    local shell
    for shell in bash sh; do
        run "$shell" "$plugin/scripts/ops/llm_call.sh" --model free
        [ "$status" -eq 0 ]
        [ "${lines[1]}" = "<$plugin/scripts/ops/../../scripts/ops/llm_call.py>" ]
        [ "${lines[2]} ${lines[3]}" = "<--model> <free>" ]
    done
}

@test "llm_call.sh works through a symbolic link" {
    ln -s plugin/scripts/ops/llm_call.sh "$BATS_TEST_TMPDIR/call"
    run "$BATS_TEST_TMPDIR/call" x
    [ "$status" -eq 0 ]
    [ "${lines[2]}" = "<x>" ]
}

@test "without any Python it says what is needed, on stderr, and exits 4" {
    rm -r "$XDG_CACHE_HOME"
    mkdir "$BATS_TEST_TMPDIR/bin"
    ln -s "$(command -v cksum)" "$BATS_TEST_TMPDIR/bin/cksum"
    run --separate-stderr env PATH="$BATS_TEST_TMPDIR/bin" "$plugin/bin/backlog-ops" x
    [ "$status" -eq 4 ]
    [ "$output" = "" ]
    [ "${#stderr_lines[@]}" -eq 1 ]
    [[ "$stderr" == *"needs Python 3.10 or newer"* ]]
}

@test "without any Python a skill's preload gets the same on stdout, and a zero" {
    rm -r "$XDG_CACHE_HOME"
    mkdir "$BATS_TEST_TMPDIR/bin"
    ln -s "$(command -v cksum)" "$BATS_TEST_TMPDIR/bin/cksum"
    run --separate-stderr env PATH="$BATS_TEST_TMPDIR/bin" "$plugin/bin/backlog-ops" status --exit-zero
    [ "$status" -eq 0 ]
    [ "$stderr" = "" ]
    [ "${#lines[@]}" -eq 1 ]
    [[ "$output" == *"needs Python 3.10 or newer"* ]]
}

@test "a Python that does not run is no Python" {
    rm -r "$XDG_CACHE_HOME"
    mkdir "$BATS_TEST_TMPDIR/bin"
    ln -s "$(command -v cksum)" "$BATS_TEST_TMPDIR/bin/cksum"
    printf '#!/bin/sh\necho "Python was not found"\nexit 49\n' >"$BATS_TEST_TMPDIR/bin/python3"
    chmod +x "$BATS_TEST_TMPDIR/bin/python3"
    run --separate-stderr env PATH="$BATS_TEST_TMPDIR/bin" "$plugin/bin/backlog-ops" x
    [ "$status" -eq 4 ]
    [ "$output" = "" ]
    [ "${#stderr_lines[@]}" -eq 1 ]
}
