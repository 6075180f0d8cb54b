"""No accepted wave plan breaks a rule, whatever a model answers.

The rules are stated here a second time, by brute force over pairs of tickets, and compared with the check on
random backlogs and random plans: the two must agree both ways.
"""

from fnmatch import fnmatchcase
from itertools import combinations, permutations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from backlog_ops.domain.gates import Complexity, Priority, TicketStatus
from backlog_ops.domain.settings import Backlog
from backlog_ops.domain.tickets import AffectedFile, FileAction, Ticket
from backlog_ops.domain.waves import Skipped, Slot, WavePlan, check_wave_plan, plan_waves

IDS = [f"T{number}" for number in range(8)]
PATHS = [
    *("src/auth/token.py", "src/auth/user.py", "src/auth", "src/app.py", "docs", "docs/guide.md", "Makefile"),
    *("web/package-lock.json", "api/package-lock.json", "db/migrations/1.sql", "db/migrations/2.sql"),
]
SHARED = ("**/package-lock.json", "**/migrations/**")
# What a ticket's text may say → the path that this names.
PHRASES = {
    "nothing of note": None,
    "it reads `src/auth/token.py`.": "src/auth/token.py",
    "from auth.token import verify": "src/auth/token.py",
    "from auth import user": "src/auth/user.py",
    "import { verify } from '../auth/token'": "src/auth/token.py",
    "see ./src/auth/user.py:12, too": "src/auth/user.py",
    "run by the Makefile": "Makefile",
    "(docs/guide.md)": "docs/guide.md",
}


PENDING = st.just(TicketStatus.PENDING)
STATUSES = st.sampled_from([*[TicketStatus.PENDING] * 4, TicketStatus.READY, TicketStatus.BLOCKED])
# Normalised only in part: the check must not rely on how a ticket came to be.
SPELLINGS = st.sampled_from(["{}", "{}", "./{}", "{}/"])
# A plan is rejected for one reason or for many; with few features at a time, each reason also stands alone.
FEATURES = ("dependencies", "statuses", "meetings", "new files", "no files", "texts")


@st.composite
def backlogs(draw):
    features = draw(st.sets(st.sampled_from(FEATURES)))
    ids = draw(st.lists(st.sampled_from(IDS), unique=True, min_size=1, max_size=6))
    completed = draw(st.sets(st.sampled_from(IDS), max_size=2)) - set(ids)
    needed = st.lists(st.sampled_from([*ids, *sorted(completed), "gone"]), max_size=2, unique=True)
    paths = draw(st.lists(st.sampled_from(PATHS), unique=True, min_size=2, max_size=4))
    actions = st.sampled_from([FileAction.CREATE, *FileAction] if "new files" in features else [FileAction.MODIFY])
    files = st.builds(AffectedFile, st.builds(str.format, SPELLINGS, st.sampled_from(paths)), actions)
    named = st.lists(files, min_size=0 if "no files" in features else 1, max_size=2)
    texts = [text for text, path in PHRASES.items() if path in (*paths, None)]
    own = dict(zip(ids, [*paths, *draw(st.permutations(sorted({*PATHS} - {*paths})))], strict=False))
    tickets = [
        Ticket(
            id=name,
            title="T",
            status=draw(STATUSES if "statuses" in features else PENDING),
            priority=draw(st.sampled_from(Priority)),
            tags=frozenset(),
            complexity=Complexity.LOW,
            depends_on=tuple(draw(needed)) if "dependencies" in features else (),
            affected_files=(
                tuple(draw(named)) if "meetings" in features else (AffectedFile(own[name], draw(actions)),)
            ),
            path=f"{name}.md",
            criteria=(),
            test_strategy="",
            text=draw(st.sampled_from(texts)) if "texts" in features else "nothing of note",
        )
        for name in ids
    ]
    return tickets, completed, Backlog("tickets", draw(st.integers(1, 3)), SHARED)


def plan_of(waves, skipped):
    return WavePlan(
        tuple(tuple(Slot(name, "implementer", "") for name in wave) for wave in waves),
        tuple(Skipped(name, "") for name in skipped),
    )


def mutated(draw, plan):
    """A plan that a model might have made of it: tickets moved, swapped, doubled, dropped, skipped, invented."""
    waves = [[slot.id for slot in wave] for wave in plan.waves]
    skipped = [skip.id for skip in plan.skipped]
    for _ in range(draw(st.integers(0, 3))):
        source = draw(st.sampled_from([*waves, skipped]))
        target = draw(st.sampled_from([*waves, skipped, waves]))
        taken = source.pop() if source and draw(st.booleans()) else draw(st.sampled_from([*IDS, "gone"]))
        target.append([taken] if target is waves else taken)
        waves = draw(st.permutations(waves)) if draw(st.integers(0, 3)) == 0 else waves
        waves = [wave for wave in waves if wave or draw(st.integers(0, 9)) == 0]
    return plan_of(waves, skipped)


# --- the rules, by brute force ---------------------------------------------------------------------------


def names_of(ticket):
    return {file.path.removeprefix("./").rstrip("/") for file in ticket.affected_files}


def covers(folder, path):
    return folder == path or path.startswith(folder + "/")


def creates(ticket, path):
    return any(
        file.action is FileAction.CREATE and file.path.removeprefix("./").rstrip("/") == path
        for file in ticket.affected_files
    )


def uses(ticket, path):
    named = PHRASES[ticket.text]
    return any(covers(path, other) for other in names_of(ticket) | ({named} - {None}))


def share_a_file(one, other):
    if not one.affected_files or not other.affected_files:
        return True
    pairs = [(a, b) for a in names_of(one) for b in names_of(other)]
    return any(covers(a, b) or covers(b, a) for a, b in pairs) or any(
        any(matches(a, pattern) for a in names_of(one)) and any(matches(b, pattern) for b in names_of(other))
        for pattern in SHARED
    )


def matches(path, pattern):
    return fnmatchcase("/" + path, pattern.replace("**", "*")) or fnmatchcase("/" + path + "/", pattern)


def create_then_use(creator, user):
    return creator.id != user.id and any(creates(creator, path) and uses(user, path) for path in PATHS)


def sole_creator_then_use(creator, user, tickets):
    return creator.id != user.id and any(
        creates(creator, path) and uses(user, path) and sum(creates(ticket, path) for ticket in tickets) == 1
        for path in PATHS
    )


def reachable(start, steps):
    seen, todo = set(), [start]
    while todo:
        for following in steps[todo.pop()] - seen:
            seen.add(following)
            todo.append(following)
    return seen


def breaks_a_rule(plan, tickets, completed, max_slots):
    waves = [[slot.id for slot in wave] for wave in plan.waves]
    skipped = [skip.id for skip in plan.skipped]
    by_id = {ticket.id: ticket for ticket in tickets}
    if sorted([name for wave in waves for name in wave] + skipped) != sorted(by_id):
        return True
    if any(not 1 <= len(wave) <= max_slots for wave in waves):
        return True
    at = {name: number for number, wave in enumerate(waves) for name in wave}
    for wave in waves:
        for one, other in permutations([by_id[name] for name in wave], 2):
            if share_a_file(one, other) or create_then_use(one, other):
                return True
    plannable = {t.id for t in tickets if t.status in (TicketStatus.PENDING, TicketStatus.READY)}
    for name in at:
        needed = [dependency for dependency in by_id[name].depends_on if dependency not in completed]
        if name not in plannable or any(at.get(other, 99) >= at[name] for other in needed):
            return True
    for name in set(skipped) & plannable:
        if all(other in completed or other in at for other in by_id[name].depends_on):
            return True
    leads_to = {
        a.id: {b.id for b in tickets if a.id in b.depends_on or sole_creator_then_use(a, b, tickets)} for a in tickets
    }
    return any(
        sole_creator_then_use(a, b, tickets)
        and a.id not in reachable(b.id, leads_to)
        and at.get(a.id, -1) > at.get(b.id, 99)
        for a, b in permutations(tickets, 2)
    )


# --- the properties --------------------------------------------------------------------------------------

SLOW = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(backlogs(), st.data())
def test_the_check_accepts_a_plan_exactly_when_it_breaks_no_rule(backlog, data):
    tickets, completed, rules = backlog
    plan = mutated(data.draw, plan_waves(tickets, completed, {}, rules))
    accepted = not check_wave_plan(plan, tickets, completed, rules)
    assert accepted is not breaks_a_rule(plan, tickets, completed, rules.max_slots)


@SLOW
@given(backlogs(), st.data())
def test_the_check_agrees_on_plans_made_of_thin_air(backlog, data):
    tickets, completed, rules = backlog
    order = data.draw(st.permutations([ticket.id for ticket in tickets]))
    cut = data.draw(st.sampled_from([len(order), len(order), len(order) // 2]))
    size = data.draw(st.integers(1, 3))
    planned = order[:cut]
    plan = plan_of([planned[at : at + size] for at in range(0, cut, size)], order[cut:])
    accepted = not check_wave_plan(plan, tickets, completed, rules)
    assert accepted is not breaks_a_rule(plan, tickets, completed, rules.max_slots)


@SLOW
@given(backlogs(), st.dictionaries(st.sampled_from(IDS), st.floats(0, 9)))
def test_the_planner_breaks_no_rule(backlog, added):
    tickets, completed, rules = backlog
    plan = plan_waves(tickets, completed, added, rules)
    assert check_wave_plan(plan, tickets, completed, rules) == ()
    assert not breaks_a_rule(plan, tickets, completed, rules.max_slots)


@given(backlogs(), st.data())
def test_the_planner_gives_one_plan_for_the_tickets_in_any_order(backlog, data):
    tickets, completed, rules = backlog
    shuffled = data.draw(st.permutations(tickets))
    assert plan_waves(shuffled, sorted(completed), {}, rules) == plan_waves(tickets, completed, {}, rules)


@given(backlogs())
def test_the_planner_leaves_no_room_unused(backlog):
    tickets, completed, rules = backlog
    plan = plan_waves(tickets, completed, {}, rules)
    assume(len(plan.waves) > 1)
    for early, late in combinations(range(len(plan.waves)), 2):
        for slot in plan.waves[late]:
            waves = [[s.id for s in wave if s != slot] for wave in plan.waves]
            waves[early].append(slot.id)
            moved = plan_of([wave for wave in waves if wave], [skip.id for skip in plan.skipped])
            if len(moved.waves) == len(plan.waves):  # else a wave went away, and others moved up with it
                assert check_wave_plan(moved, tickets, completed, rules)
