"""Every table of the database, as the steps that led to it; docs/ledger.md lists what is worth asking."""

from __future__ import annotations

# Append only: a released migration never changes. Index + 1 is the user_version it leads to.
MIGRATIONS = (
    """
    CREATE TABLE run (
        id           TEXT PRIMARY KEY,
        state        TEXT NOT NULL CHECK (state IN ('open', 'done', 'aborted')),
        created_at   REAL NOT NULL,            -- Unix seconds
        ended_at     REAL,
        top          TEXT NOT NULL,            -- the work tree it belongs to; linked ones share this database
        base_branch  TEXT NOT NULL,            -- the branch the run began on and ends in
        base_commit  TEXT NOT NULL,            -- its commit at the start
        branch       TEXT NOT NULL,            -- backlog/<run>: where tickets are merged meanwhile
        wave         INTEGER NOT NULL DEFAULT 0,   -- 0: waves are not planned yet
        wave_source  TEXT,                     -- which planner's waves were accepted
        max_nanousd  INTEGER,
        summary      TEXT
    );
    CREATE UNIQUE INDEX one_open_run ON run (state) WHERE state = 'open';

    CREATE TABLE ticket (
        run          TEXT NOT NULL REFERENCES run (id),
        id           TEXT NOT NULL,
        path         TEXT NOT NULL,            -- of the ticket file, relative to the repository
        title        TEXT NOT NULL,
        text         TEXT NOT NULL,            -- the file as it was when the run began
        wave         INTEGER,
        position     INTEGER NOT NULL DEFAULT 0,
        step         TEXT NOT NULL,            -- backlog_ops.run.steps: what happens next
        reason       TEXT,                     -- why it is parked
        attempt      INTEGER NOT NULL DEFAULT 0,   -- IMPLEMENT attempts begun
        fails        INTEGER NOT NULL DEFAULT 0,   -- failed LINT or REVIEW verdicts
        worktree     TEXT,
        base_commit  TEXT,                     -- the worktree was made from it; moves when it is rebased
        plan         TEXT,                     -- the accepted PLAN answer, JSON
        approved_tree TEXT,                    -- the tree hash that REVIEW approved
        work_tree    TEXT,                     -- the tree hash that is being judged: LINT, REVIEW, COMMIT
        note         TEXT,                     -- what the engine took back of the attempt, for the next one
        message      TEXT,                     -- the commit message COMMIT settled on
        commit_id    TEXT,                     -- the ticket's own commit; on the run's branch once it is done
        PRIMARY KEY (run, id)
    );

    CREATE TABLE action (
        number       INTEGER PRIMARY KEY,      -- shown as a<number>
        run          TEXT NOT NULL REFERENCES run (id),
        ticket       TEXT,                     -- NULL: concerns the whole run (WAVE_PLAN)
        gate         TEXT NOT NULL,
        attempt      INTEGER NOT NULL,
        tier         TEXT NOT NULL,
        rule         TEXT NOT NULL,            -- the routing rule that decided the tier
        brief        TEXT NOT NULL,
        hand_in      TEXT,                     -- the file the sub-agent writes; NULL: git is the hand-in
        state        TEXT NOT NULL CHECK (state IN ('open', 'handed-in', 'closed')),
        cause        TEXT,                     -- why the attempt died, where it did
        created_at   REAL NOT NULL,
        ended_at     REAL
    );
    CREATE INDEX action_by_ticket ON action (run, ticket);

    CREATE TABLE verdict (
        run          TEXT NOT NULL REFERENCES run (id),
        ticket       TEXT NOT NULL,
        attempt      INTEGER NOT NULL,
        gate         TEXT NOT NULL,
        tier         TEXT NOT NULL,            -- that IMPLEMENT ran on in this attempt
        passed       INTEGER NOT NULL,
        tree         TEXT,
        detail       TEXT NOT NULL,            -- findings or failed output, JSON
        at           REAL NOT NULL,
        PRIMARY KEY (run, ticket, attempt, gate)
    );

    CREATE TABLE event (
        number       INTEGER PRIMARY KEY,
        run          TEXT NOT NULL REFERENCES run (id),
        at           REAL NOT NULL,
        ticket       TEXT,
        text         TEXT NOT NULL
    );

    CREATE TABLE ledger (
        key              TEXT PRIMARY KEY,     -- a second insert of the same call is a no-op
        at               REAL NOT NULL,        -- Unix seconds
        source           TEXT NOT NULL,        -- llm_call | engine | claude-cli | session
        run              TEXT,
        wave             INTEGER,
        ticket           TEXT,
        gate             TEXT,
        attempt          INTEGER,
        asked_tier       TEXT NOT NULL,
        asked_model      TEXT NOT NULL,
        provider         TEXT NOT NULL,        -- ollama | gateway | anthropic | claude-cli | claude-code
        answered_model   TEXT,
        input            INTEGER,              -- tokens, five disjoint buckets; NULL: not known
        cache_write_5m   INTEGER,
        cache_write_1h   INTEGER,
        cache_read       INTEGER,
        output           INTEGER,
        cost_nanousd     INTEGER,              -- NULL: unknown, never 0 for it
        price_date       TEXT,
        latency_ms       INTEGER NOT NULL,
        outcome          TEXT NOT NULL,        -- answered | refused | cut | empty | invalid | unreachable | …
        fallback_cause   TEXT,                 -- why the call before this one in the chain did not do
        escalation_rule  TEXT,                 -- the routing rule that decided the tier
        tags             TEXT NOT NULL DEFAULT '{}'
    ) WITHOUT ROWID;
    CREATE INDEX ledger_by_run ON ledger (run, ticket);
    """,
    """
    ALTER TABLE ticket ADD COLUMN granted TEXT NOT NULL DEFAULT '[]';  -- paths beyond the plan, granted on request

    ALTER TABLE action ADD COLUMN host_model TEXT;   -- the Agent tool's alias for its tier
    ALTER TABLE action ADD COLUMN worktree TEXT;
    ALTER TABLE action ADD COLUMN write_set TEXT NOT NULL DEFAULT '[]';  -- JSON, relative to the worktree

    -- A sub-agent of somebody's session that works, or worked, on an action.
    CREATE TABLE agent (
        tool_use_id    TEXT PRIMARY KEY,       -- of the Agent call that started it
        action         INTEGER NOT NULL REFERENCES action (number),
        session        TEXT NOT NULL,
        host_pid       INTEGER,                -- the process of that session; NULL: not known
        transcripts    TEXT NOT NULL,          -- the folder with its transcript
        agent_id       TEXT,
        parent_model   TEXT,                   -- what had answered its parent last
        asked_model    TEXT,                   -- the alias it was started with; NULL: it inherits
        resolved_model TEXT,                   -- what the host made of that
        guarded        INTEGER NOT NULL,       -- 1: its call went through the model guard
        overrides      TEXT,                   -- host settings that can defeat the guard
        started_at     REAL NOT NULL,          -- Unix seconds
        ended_at       REAL,
        woke           INTEGER NOT NULL DEFAULT 0,  -- 1: a notification of its end has reached the parent
        released_at    REAL,                   -- when its end is shown to the parent: together with its list's
        cause          TEXT,                   -- why its work is worthless, where it is
        booked         INTEGER NOT NULL DEFAULT 0  -- bytes of its complete transcript that are in the ledger
    );
    CREATE INDEX agent_by_action ON agent (action);

    -- When a session was last told where a run stands.
    CREATE TABLE telling (
        session        TEXT NOT NULL,
        run            TEXT NOT NULL REFERENCES run (id),
        at             REAL NOT NULL,          -- Unix seconds
        PRIMARY KEY (session, run)
    );

    ALTER TABLE ledger ADD COLUMN session TEXT;
    ALTER TABLE ledger ADD COLUMN agent TEXT;
    """,
    """
    ALTER TABLE run ADD COLUMN paused_until REAL;    -- Unix seconds; a usage limit: nothing is bought before
    ALTER TABLE run ADD COLUMN paused_why TEXT;

    ALTER TABLE ticket ADD COLUMN parked_at TEXT;    -- the step that `retry` goes on with
    ALTER TABLE ticket ADD COLUMN forgiven INTEGER NOT NULL DEFAULT 0;  -- attempts before the last `retry`
    ALTER TABLE ticket ADD COLUMN asked_again INTEGER NOT NULL DEFAULT 0;  -- the newest action when it was retried
    ALTER TABLE ticket ADD COLUMN history TEXT NOT NULL DEFAULT '[]';   -- JSON: what failed in an earlier run
    ALTER TABLE ticket ADD COLUMN carried TEXT;      -- the commit that holds its work of an earlier run
    ALTER TABLE ticket ADD COLUMN questions TEXT;    -- JSON: what a plan left open, for the investigator
    ALTER TABLE ticket ADD COLUMN answers TEXT;      -- JSON: what the investigator found out

    ALTER TABLE action ADD COLUMN reviewer TEXT;     -- which of reviewPipeline.reviewers
    ALTER TABLE action ADD COLUMN tree TEXT;         -- the tree hash it judges

    -- Written before each step, closed by what the step settles: an open row is a step that is at work or was cut off.
    CREATE TABLE journal (
        number       INTEGER PRIMARY KEY,
        run          TEXT NOT NULL REFERENCES run (id),
        ticket       TEXT,                     -- NULL: a step of the whole run
        step         TEXT NOT NULL,
        attempt      INTEGER NOT NULL,
        pid          INTEGER NOT NULL,
        at           REAL NOT NULL,            -- Unix seconds
        outcome      TEXT                      -- settled | stopped | cut: the engine died in it; NULL: at work
    );
    CREATE INDEX ticket_by_wave ON ticket (run, wave);
    CREATE INDEX journal_open ON journal (run, ticket) WHERE outcome IS NULL;

    -- What a run asks a person, shown as q<number>.
    CREATE TABLE question (
        number       INTEGER PRIMARY KEY,
        run          TEXT NOT NULL REFERENCES run (id),
        text         TEXT NOT NULL,
        tip          TEXT NOT NULL,            -- the commit that the answer is about
        answer       TEXT CHECK (answer IN ('yes', 'no', 'void')),  -- void: about commits that are not all any more
        asked_at     REAL NOT NULL             -- Unix seconds
    );
    """,
    """
    -- The ledger is only ever added to: what was wrong is put right by a row of its own.
    CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
    CREATE TRIGGER ledger_is_not_shortened BEFORE DELETE ON ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
    CREATE TRIGGER ledger_is_not_replaced BEFORE INSERT ON ledger  -- REPLACE deletes without the trigger above
        WHEN EXISTS (SELECT 1 FROM ledger WHERE key = new.key) BEGIN SELECT RAISE(IGNORE); END;
    CREATE INDEX ledger_by_time ON ledger (at, cost_nanousd);
    CREATE INDEX ledger_fallbacks ON ledger (at) WHERE fallback_cause IS NOT NULL;

    -- The ledger summed up as it grows: a report of a million calls reads this. '' and 0 stand for NULL.
    CREATE TABLE tally (
        run              TEXT NOT NULL,
        ticket           TEXT NOT NULL,
        gate             TEXT NOT NULL,
        wave             INTEGER NOT NULL,
        attempt          INTEGER NOT NULL,
        source           TEXT NOT NULL,
        asked_tier       TEXT NOT NULL,
        asked_model      TEXT NOT NULL,
        provider         TEXT NOT NULL,
        answered_model   TEXT NOT NULL,
        escalation_rule  TEXT NOT NULL,
        outcome          TEXT NOT NULL,
        day              TEXT NOT NULL,        -- ISO, UTC; '' where `at` is no time
        calls            INTEGER NOT NULL,     -- corrections are none
        unknown          INTEGER NOT NULL,     -- calls of unknown cost
        estimated        INTEGER NOT NULL,     -- calls with an estimated count, less the corrected ones
        nanousd          INTEGER NOT NULL,
        input            INTEGER NOT NULL,
        cache_write_5m   INTEGER NOT NULL,
        cache_write_1h   INTEGER NOT NULL,
        cache_read       INTEGER NOT NULL,
        output           INTEGER NOT NULL,
        PRIMARY KEY (run, wave, ticket, gate, attempt, source, asked_tier, asked_model, provider, answered_model,
                     escalation_rule, outcome, day)
    ) WITHOUT ROWID;
    CREATE TRIGGER ledger_is_tallied AFTER INSERT ON ledger BEGIN
        INSERT INTO tally VALUES (
            coalesce(new.run, ''), coalesce(new.ticket, ''), coalesce(new.gate, ''), coalesce(new.wave, 0),
            coalesce(new.attempt, 0), new.source, new.asked_tier, new.asked_model, new.provider,
            coalesce(new.answered_model, ''), coalesce(new.escalation_rule, ''), new.outcome,
            coalesce(date(new.at, 'unixepoch'), ''),
            new.source <> 'correction',
            new.source <> 'correction' AND new.cost_nanousd IS NULL,
            CASE WHEN new.source = 'correction' THEN -1 ELSE new.tags LIKE '%"estimate"%' END,
            coalesce(new.cost_nanousd, 0), coalesce(new.input, 0), coalesce(new.cache_write_5m, 0),
            coalesce(new.cache_write_1h, 0), coalesce(new.cache_read, 0), coalesce(new.output, 0)
        ) ON CONFLICT DO UPDATE SET
            calls = calls + excluded.calls, unknown = unknown + excluded.unknown,
            estimated = estimated + excluded.estimated, nanousd = nanousd + excluded.nanousd,
            input = input + excluded.input, cache_write_5m = cache_write_5m + excluded.cache_write_5m,
            cache_write_1h = cache_write_1h + excluded.cache_write_1h,
            cache_read = cache_read + excluded.cache_read, output = output + excluded.output;
    END;
    INSERT INTO tally SELECT
        coalesce(run, ''), coalesce(ticket, ''), coalesce(gate, ''), coalesce(wave, 0), coalesce(attempt, 0), source,
        asked_tier, asked_model, provider, coalesce(answered_model, ''), coalesce(escalation_rule, ''), outcome,
        coalesce(date(at, 'unixepoch'), ''), count(*), count(*) - count(cost_nanousd),
        total(tags LIKE '%"estimate"%'), coalesce(sum(cost_nanousd), 0), coalesce(sum(input), 0),
        coalesce(sum(cache_write_5m), 0), coalesce(sum(cache_write_1h), 0), coalesce(sum(cache_read), 0),
        coalesce(sum(output), 0)
        FROM ledger GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13;

    -- The host's files that hold, or may hold, calls of a run, and how far each is in the ledger.
    CREATE TABLE transcript (
        path         TEXT PRIMARY KEY,
        session      TEXT NOT NULL,
        agent        TEXT,                     -- NULL: the main conversation
        done         INTEGER NOT NULL DEFAULT 0,   -- bytes that need not be read again
        state        TEXT NOT NULL DEFAULT '{}'    -- JSON: what the lines after them are read with
    );

    -- Agent calls that were made for a run; what the sub-agents they started cost is the run's.
    CREATE TABLE started_call (
        tool_use_id  TEXT PRIMARY KEY,
        session      TEXT NOT NULL,
        owner        TEXT NOT NULL             -- a run, or a<number> of the action of the sub-agent that made it
    );

    -- What a session has cost by the host's own count, beside what its transcripts hold.
    CREATE TABLE session_cost (
        session      TEXT PRIMARY KEY,
        at           REAL NOT NULL,            -- Unix seconds
        host_nanousd INTEGER NOT NULL,
        transcripts_nanousd  INTEGER,          -- at our prices; NULL: one of its models has none
        unattributed_nanousd INTEGER,          -- of tokens that stand in no transcript
        repriced_nanousd     INTEGER           -- what the host's prices add to ours, for the same tokens
    );

    -- What is set aside for calls that are under way: nothing else may be spent on it.
    CREATE TABLE reservation (
        holder       TEXT PRIMARY KEY,         -- a ticket of a run, or a call of llm_call
        run          TEXT,
        ticket       TEXT,
        nanousd      INTEGER NOT NULL,         -- 0: it waits until others have settled
        pid          INTEGER,                  -- of the process that calls; NULL: a ticket, which outlives processes
        at           REAL NOT NULL             -- Unix seconds
    );

    CREATE TRIGGER reservation_of_a_ticket_ends AFTER UPDATE OF step ON ticket
        WHEN NEW.step NOT IN ('prepare', 'plan', 'investigate', 'implement', 'review')
        BEGIN DELETE FROM reservation WHERE run = NEW.run AND ticket = NEW.id; END;
    CREATE TRIGGER reservations_of_a_run_end AFTER UPDATE OF state ON run WHEN NEW.state <> 'open'
        BEGIN DELETE FROM reservation WHERE run = NEW.id; END;

    -- What a run's tickets were expected to cost when it began; docs/costs.md says how that is made out.
    CREATE TABLE quote (
        run          TEXT NOT NULL REFERENCES run (id),
        ticket       TEXT NOT NULL,
        p50_nanousd  INTEGER NOT NULL,
        p90_nanousd  INTEGER NOT NULL,
        basis        TEXT NOT NULL,            -- priors | history: of which class, and of how many tickets
        at           REAL NOT NULL,            -- Unix seconds
        PRIMARY KEY (run, ticket)
    );

    -- What people were warned of, once: a share of a budget that is used up.
    CREATE TABLE warning (
        subject      TEXT PRIMARY KEY,
        at           REAL NOT NULL             -- Unix seconds
    );

    ALTER TABLE question ADD COLUMN ticket TEXT;     -- NULL: about the whole run
    ALTER TABLE ticket ADD COLUMN held INTEGER;      -- the number of the question it waits for
    """,
)
