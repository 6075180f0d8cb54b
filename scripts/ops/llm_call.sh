#!/bin/sh
# llm_call.sh: llm_call.py for callers that say `bash …/llm_call.sh`; same flags, output and exit codes.

self=$0
case $self in /*) ;; *) self=./$self ;; esac
while [ -L "$self" ]; do
    # The dot keeps newlines that belong to the name; readlink's own newline goes with it.
    target=$(readlink "$self" && echo .) || exit 1
    target=${target%??}
    case $target in /*) self=$target ;; *) self=${self%/*}/$target ;; esac
done

root=${self%/*}/../..
script=$root/scripts/ops/llm_call.py
# shellcheck source=scripts/ops/launcher/launch.sh
. "$root/scripts/ops/launcher/launch.sh"
