# The verbs of this repository. Each fetches what it needs first; a second call finds it there.

.PHONY: help deps demo test check bench

help:
	@echo 'make deps    fetch what the others need, pinned, into .deps'
	@echo 'make demo    a backlog of four tickets becomes four commits, with the real Claude Code and a scripted model'
	@echo 'make test    linters, types and every test; fetches an older Claude Code too; a skipped test is a failure'
	@echo 'make check   linters and types only'
	@echo 'make bench   how fast it is, against its limits'

deps:
	@command -v python3 >/dev/null || { echo 'make deps: needs python3 (Debian: apt install python3)' >&2; exit 1; }
	@python3 scripts/dev/deps.py

demo: deps
	@python3 scripts/dev/deps.py demo
	@.deps/venv/bin/python -m tests.e2e.demo

test: deps
	@python3 scripts/dev/deps.py test
	@scripts/dev/stages.sh test

check: deps
	@scripts/dev/stages.sh check

bench: deps
	@status=0; for file in bench/*.py; do .deps/venv/bin/python "$$file" || status=1; done; exit $$status
