"""`make demo`: a small real backlog, worked through by the real engine and the real Claude Code.

project/     the repository the demo begins with: code, tests, CLAUDE.md, four tickets
answers.py   what the scripted models say and write, ticket by ticket
script.py    the scripted models: they read their briefs and use tools as a real model would
stage.py     the scratch repository, the stand-ins, the run
bill.py      what the scripted API billed, and what the ledger says
checks.py    what has to hold at the end
"""
