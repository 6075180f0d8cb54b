#!/usr/bin/env bash
# Do the configuration's schema and its preset hold together? Needs bash and a bare python3, nothing else.
#
#   bash tests/test-config-schema.sh [ROOT]      ROOT: the plugin's folder; default: the one this file is in
#
# Exit 1 on any failure. The last line is "N passed, N failed".

set -u

ROOT="${1:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}"
SCHEMA="$ROOT/config/backlog.config.schema.json"
PRESET="$ROOT/config/presets/default.json"
# The interpreter itself, not a shim in front of it; isolated, so that no variable can switch assertions off.
PYTHON=("$(python3 -c 'import sys; print(sys.executable)')" -I -S)
PASSED=0
FAILED=0

pass() {
  PASSED=$((PASSED + 1))
  echo "  PASS: $1"
}

fail() {
  FAILED=$((FAILED + 1))
  echo "  FAIL: $1"
}

# check TITLE PYTHON [ARG…]: passes when PYTHON runs through. In it, `schema` and `preset` are the two files and
# `arg` holds the ARGs. `run_checks` runs what has come together, all by one Python.
CHECKS=()

check() {
  local title="$1" code="$2"
  shift 2
  CHECKS+=("$title" "$code" "$#" "$@")
}

RUN_CHECKS='
import json, sys

BEFORE = """
import json
schema, preset = (json.load(open(name, encoding="utf-8")) for name in files)

def node(*keys):
    found = schema
    for key in keys:
        found = found["properties"][key]
    return found

"""
files, words = sys.argv[1:3], iter(sys.argv[3:])
for title in words:
    code, count = next(words), int(next(words))
    arg = [next(words) for _ in range(count)]
    try:
        exec(BEFORE + code, {"files": files, "arg": arg})
        print("pass", title)
    except Exception:
        print("fail", title)'

run_checks() {
  local verdict title
  while read -r verdict title; do
    "$verdict" "$title"
  done < <("${PYTHON[@]}" -c "$RUN_CHECKS" "$SCHEMA" "$PRESET" "${CHECKS[@]}" || echo "fail these checks can be run")
  CHECKS=()
}

# keys PATH KEY…: the section PATH (dots between keys) has every KEY, in the schema and in the preset.
keys() {
  local path="$1" key
  shift
  for key in "$@"; do
    check "schema: $path.$key" 'assert arg[1] in node(*arg[0].split("."))["properties"]' "$path" "$key"
    check "preset: $path.$key" '
for part in arg[0].split("."):
    preset = preset[part]
assert arg[1] in preset' "$path" "$key"
  done
}

echo "-- files --"

for file in "$SCHEMA" "$PRESET"; do
  if "${PYTHON[@]}" -c "import json, sys; json.load(open(sys.argv[1], encoding='utf-8'))" "$file" 2>/dev/null; then
    pass "${file#"$ROOT"/} is JSON"
  else
    fail "${file#"$ROOT"/} is not JSON"
  fi
done

echo ""
echo "-- schema --"

# shellcheck disable=SC2016 # Python, not shell
check "draft-07" 'assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"'
check "version and testCommand are required" '
assert "version" in schema["required"] and "qualityGates" in schema["required"]
assert node("qualityGates")["required"] == ["testCommand"]'
check "unknown keys are errors in every section" '
def closed(section):
    assert section["additionalProperties"] is False
    for member in section["properties"].values():
        for part in (member, member.get("items", {})):
            if part.get("type") == "object":
                closed(part)
closed(schema)'
check "every key has a description, every value a default" '
def described(section):
    assert section["description"]
    for member in section["properties"].values():
        assert member["description"]
        if member["type"] == "object":
            described(member)
        else:
            assert "default" in member
described(schema)'
check "the defaults are the preset" '
def defaults(section):
    return {
        key: defaults(member) if member["type"] == "object" else member["default"]
        for key, member in section["properties"].items()
    }
assert defaults(schema) == preset'

run_checks
echo ""
echo "-- sections --"

for section in version project backlog qualityGates codeRules ticketValidation reviewPipeline worktree llmOps; do
  check "schema: $section" 'assert arg[0] in schema["properties"]' "$section"
  check "preset: $section" 'assert arg[0] in preset' "$section"
done
keys backlog dataDir maxSlots sharedFiles mergeInto askBeforeMerge
keys llmOps routing models gateway ollama local timeouts budget onModelMismatch

run_checks
echo ""
echo "-- qualityGates sub-keys --"

keys qualityGates typeCheckCommand lintCommand testCommand buildCommand timeoutSeconds

run_checks
echo ""
echo "-- reviewPipeline preset sub-keys --"

keys reviewPipeline confidenceThreshold maxPackageBytes reviewers

run_checks
echo ""

# ── llmOps.routing sub-keys ──────────────────────────────────────────

echo "-- llmOps.routing sub-keys --"

ROUTING_KEYS=(entryModelClassify entryModelPlan entryModelDraft entryModelImplement entryModelReview escalationModel)

for key in "${ROUTING_KEYS[@]}"; do
  if "${PYTHON[@]}" -c "
import json, sys
d = json.load(open(sys.argv[1]))
assert sys.argv[2] in d['llmOps']['routing']
" "$PRESET" "$key" 2>/dev/null; then
    pass "llmOps.routing.${key} present"
  else
    fail "llmOps.routing.${key} missing"
  fi
done

keys llmOps.routing "${ROUTING_KEYS[@]}" maxEscalationsPerTicket maxAttemptsPerTicket

# default KEY JSON: the preset routes as the plan says.
default() {
  check "llmOps.routing.$1 is $2" 'assert preset["llmOps"]["routing"][arg[0]] == json.loads(arg[1])' "$1" "$2"
}

default entryModelClassify '"free"'
default entryModelPlan '"free"'
default entryModelDraft '"free"'
default entryModelImplement '"cheap"'
default entryModelReview '"balanced"'
default escalationModel '"frontier"'
default maxEscalationsPerTicket 1

check "schema: entryModelPlan stands after entryModelDraft, as the plan says" '
names = list(node("llmOps", "routing")["properties"])
plan = node("llmOps", "routing", "entryModelPlan")
assert names.index("entryModelPlan") == names.index("entryModelDraft") + 1
assert plan["type"] == "string" and plan["default"] == "free"
assert plan["description"].startswith("Model alias for planning gates (text-only, no tool_use).")'
check "schema: no agent gate may start on free" '
for gate in ("entryModelImplement", "entryModelReview"):
    assert "free" not in node("llmOps", "routing", gate)["enum"]'

run_checks
echo ""
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" -eq 0 ]
