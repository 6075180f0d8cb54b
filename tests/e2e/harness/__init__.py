"""The real Claude Code CLI against a scripted Messages API, on loopback only.

    stub_anthropic  StubServer: the API; request.Req is what came in, reply.Reply and Fault what goes out
    rules           scenarios: match rules and plain scripts
    usage           what a call bills: tokens with a prefix cache
    run_claude      Lab: a HOME, a scratch repository, and `claude` run inside a network namespace

The binary is `$CLAUDE_BIN`, else the pinned npm package that `make deps` unpacks, else `claude` on the PATH.
"""
