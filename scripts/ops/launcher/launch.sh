# shellcheck shell=sh disable=SC2154 # both are set by the file that sources this one
# Sourced with $root (the plugin's folder), $script and the caller's arguments; never returns.
#
# Warm: the managed environment exists, so this costs one `cksum` and becomes that Python.
# Cold, or anything unusual: bootstrap.py finds or builds the environment and then does the same.
# bootstrap.py computes the same folder; a test compares the two.
#
# -E -s: no PYTHON* variable and no user site reaches our interpreter, while the processes that it
# starts (the user's own tests, say) still inherit the caller's environment untouched.

# Not ${CLAUDE_PLUGIN_DATA}: only hooks are told of it, and they must find what a shell's call has built.
case ${XDG_CACHE_HOME-} in
    /*) base=$XDG_CACHE_HOME/backlog-ops ;;
    *) base=${HOME-}/.cache/backlog-ops ;;
esac
checksum=$({ cksum <"$root/config/requirements.lock"; } 2>/dev/null)
python=$base/venv-${checksum%% *}/bin/python
if [ -x "$python" ]; then
    exec "$python" -Es "$script" "$@"
fi

# Any Python that runs can prepare the environment; which one it is built from is bootstrap.py's choice.
for python in "${BACKLOG_PYTHON-}" python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do
    python=$(command -v "$python") || continue
    case $python in /*) ;; *) continue ;; esac # never a program out of the current folder
    if "$python" -ISc 'import sys; sys.exit(sys.version_info < (3, 6))' </dev/null >/dev/null 2>&1; then
        exec "$python" -Es "$root/scripts/ops/launcher/bootstrap.py" "$script" "$@"
    fi
done
problem="backlog-ops: needs Python 3.10 or newer, and no Python runs here; install one or name it in BACKLOG_PYTHON"
for argument; do
    [ "$argument" = --exit-zero ] && echo "$problem" && exit 0 # a skill's preload, as in bootstrap.py
done
echo "$problem" >&2
exit 4
