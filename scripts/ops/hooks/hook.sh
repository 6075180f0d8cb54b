#!/bin/sh
# hook.sh NAME: what hooks/hooks.json calls, with the event as JSON on stdin.
#
# Fails open: whatever goes wrong here, the session goes on, nothing is printed and the exit code is 0.
# Outside a run only shell builtins are used: a test or two a folder, about 1 ms.
#
#   agent, write, bash         guards (PreToolUse): scripts/ops/hooks/guards
#   returned, stopped, woken   hand-overs: what the parent is to do next (backlog-ops hook NAME)
#   session                    BACKLOG_ROOT for the session's shells; three lines where a run is open
#   settle                     receipts of what has ended

name=$1
# Our own `claude -p`: its gate is named to the letter, nobody is to guard or wake it.
[ -z "${BACKLOG_CHILD-}" ] || exit 0

find_root() { # sets root to the plugin's folder, without links; the dot keeps line ends that belong to its name
    root=$(cd -P "${1%/*}/../../.." 2>/dev/null && printf '%s.' "$PWD") && root=${root%.}
}

quoted() { # as one word for a shell that reads it
    rest=$1
    word=
    while :; do
        case $rest in
            *\'*) word=$word${rest%%\'*}"'\\''" rest=${rest#*\'} ;;
            *) break ;;
        esac
    done
    printf "'%s'" "$word$rest"
}

if [ "$name" = session ] && [ -n "${CLAUDE_ENV_FILE-}" ] && find_root "$0"; then
    { printf 'export BACKLOG_ROOT=%s\n' "$(quoted "$root")" >>"$CLAUDE_ENV_FILE"; } 2>/dev/null
fi

# An open run has a mark under the state folder, at the path of its work tree (storage/open_runs.py).
case ${XDG_STATE_HOME-} in
    /*) marks=$XDG_STATE_HOME/backlog-ops/open ;;
    *) marks=${HOME-}/.local/state/backlog-ops/open ;;
esac
[ -d "$marks" ] || exit 0

open_run_above() { # sets top to the work tree with an open run that holds folder $1
    cd -P "${1:-/}" 2>/dev/null || return 1
    top=$PWD
    while [ ! -f "$marks$top/run" ]; do
        case $top in "" | /) return 1 ;; esac
        top=${top%/*}
    done
}
script=$0
case $script in /*) ;; *) script=$PWD/$script ;; esac # what follows leaves this folder
open_run_above "$PWD" || open_run_above "${CLAUDE_PROJECT_DIR-}" || exit 0
find_root "$script" || exit 0

# The Python that opened the run, never the launcher: a hook must not build an environment.
# The mark may go while we look: its absence is nobody's business to hear of.
{ { IFS= read -r python && IFS= read -r database; } <"$marks$top/run"; } 2>/dev/null || exit 0
case $python in /*) ;; *) exit 0 ;; esac
[ -x "$python" ] || exit 0

case $name in
    agent | write | bash)
        "$python" -ISE "$root/scripts/ops/hooks/guard.py" "$name" "$database" 2>/dev/null
        ;;
    returned | stopped | woken | session | settle)
        cd "${top:-/}" && "$python" -Es "$root/scripts/ops/backlog_ops/__main__.py" hook "$name" 2>/dev/null
        ;;
esac
exit 0
