-- Vendors' bills, routes and experiments. The sums of days are made anew with them.
DROP TRIGGER attempt_days_add;
DROP TABLE attempt_days;

-- Several attempts may answer one request, at vendors, too. `attempt` counts them within the request.
-- `arm` is the arm that served; `experiment`, `assigned_arm` and `unit` are those that were assigned.
-- `booked_to` is the experiment that pays for a shadow, a judge or a replay; null if the caller pays.
-- The bill is exact: nanodollars, and the attodollars beyond. It is null where it is unknown.
ALTER TABLE attempts ADD COLUMN route TEXT;
ALTER TABLE attempts ADD COLUMN role TEXT;
ALTER TABLE attempts ADD COLUMN attempt INTEGER;
ALTER TABLE attempts ADD COLUMN arm TEXT;
ALTER TABLE attempts ADD COLUMN experiment TEXT;
ALTER TABLE attempts ADD COLUMN assigned_arm TEXT;
ALTER TABLE attempts ADD COLUMN unit TEXT;
ALTER TABLE attempts ADD COLUMN booked_to TEXT;
ALTER TABLE attempts ADD COLUMN vendor TEXT;
ALTER TABLE attempts ADD COLUMN vendor_model TEXT;
ALTER TABLE attempts ADD COLUMN vendor_usage TEXT;
ALTER TABLE attempts ADD COLUMN billed_nanos INTEGER;
ALTER TABLE attempts ADD COLUMN billed_attos INTEGER;
ALTER TABLE attempts ADD COLUMN basis TEXT;

-- All attempts of a request.
CREATE INDEX attempts_request ON attempts (request_id);
-- All that a report reads, in the order in which it reads: a million rows in a second.
CREATE INDEX attempts_experiment ON attempts (
    experiment, assigned_arm, unit, request_id, attempt, started_us, arm, role, outcome, input_tokens,
    cached_tokens, output_tokens, device_ps, ttft_seconds, adapter, basis, billed_nanos, billed_attos
) WHERE experiment IS NOT NULL;

-- What the attempts of a day came to together, so that a month is told without reading a row of each.
-- The day is that of `ended_us`, counted since 1970 in UTC. Where a text is missing it is empty: sums have
-- to find their row. What is booked to an experiment has no caller. Device time is in milliseconds and the
-- picoseconds beyond, and bills are in nanodollars and the attodollars beyond, because a day's sum does
-- not fit one number.
CREATE TABLE attempt_days (
    day INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (id),
    outcome TEXT NOT NULL,
    model TEXT NOT NULL,
    adapter TEXT NOT NULL,
    api_key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    booked_to TEXT NOT NULL,
    vendor TEXT NOT NULL,
    vendor_model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    device_ms INTEGER NOT NULL,
    device_ps INTEGER NOT NULL,
    input_ms INTEGER NOT NULL,
    input_ps INTEGER NOT NULL,
    cached_ms INTEGER NOT NULL,
    cached_ps INTEGER NOT NULL,
    output_ms INTEGER NOT NULL,
    output_ps INTEGER NOT NULL,
    -- Attempts at a vendor; of these, those whose bill is estimated, and those whose bill is unknown.
    bills INTEGER NOT NULL,
    estimated_bills INTEGER NOT NULL,
    unknown_bills INTEGER NOT NULL,
    billed_nanos INTEGER NOT NULL,
    billed_attos INTEGER NOT NULL,
    PRIMARY KEY (day, run, outcome, model, adapter, api_key, user_id, tenant, booked_to, vendor,
        vendor_model)
) STRICT, WITHOUT ROWID;

INSERT INTO attempt_days
SELECT
    ended_us / 86400000000, run,
    outcome, model, coalesce(adapter, ''),
    CASE WHEN booked_to IS NULL THEN coalesce(api_key, '') ELSE '' END,
    CASE WHEN booked_to IS NULL THEN coalesce(user_id, '') ELSE '' END,
    CASE WHEN booked_to IS NULL THEN coalesce(tenant, '') ELSE '' END, coalesce(booked_to, ''),
    coalesce(vendor, ''), coalesce(vendor_model, ''),
    count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens), sum(device_ps / 1000000000),
    sum(device_ps % 1000000000), sum(input_ps / 1000000000), sum(input_ps % 1000000000),
    sum(cached_ps / 1000000000), sum(cached_ps % 1000000000), sum(output_ps / 1000000000),
    sum(output_ps % 1000000000), sum(CASE WHEN vendor IS NULL THEN 0 ELSE 1 END),
    sum(CASE WHEN basis = 'estimated' THEN 1 ELSE 0 END),
    sum(CASE WHEN basis = 'unknown' THEN 1 ELSE 0 END), sum(coalesce(billed_nanos, 0)),
    sum(coalesce(billed_attos, 0))
FROM attempts
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;

CREATE TRIGGER attempt_days_add AFTER INSERT ON attempts BEGIN
    INSERT INTO attempt_days VALUES (
        new.ended_us / 86400000000, new.run,
        new.outcome, new.model, coalesce(new.adapter, ''),
        CASE WHEN new.booked_to IS NULL THEN coalesce(new.api_key, '') ELSE '' END,
        CASE WHEN new.booked_to IS NULL THEN coalesce(new.user_id, '') ELSE '' END,
        CASE WHEN new.booked_to IS NULL THEN coalesce(new.tenant, '') ELSE '' END,
        coalesce(new.booked_to, ''), coalesce(new.vendor, ''), coalesce(new.vendor_model, ''),
        1, new.input_tokens, new.cached_tokens, new.output_tokens, new.device_ps / 1000000000,
        new.device_ps % 1000000000, new.input_ps / 1000000000, new.input_ps % 1000000000,
        new.cached_ps / 1000000000, new.cached_ps % 1000000000, new.output_ps / 1000000000,
        new.output_ps % 1000000000, CASE WHEN new.vendor IS NULL THEN 0 ELSE 1 END,
        CASE WHEN new.basis = 'estimated' THEN 1 ELSE 0 END,
        CASE WHEN new.basis = 'unknown' THEN 1 ELSE 0 END, coalesce(new.billed_nanos, 0),
        coalesce(new.billed_attos, 0)
    )
    ON CONFLICT (day, run, outcome, model, adapter, api_key, user_id, tenant,
        booked_to, vendor, vendor_model) DO UPDATE SET
        requests = requests + excluded.requests,
        input_tokens = input_tokens + excluded.input_tokens,
        cached_tokens = cached_tokens + excluded.cached_tokens,
        output_tokens = output_tokens + excluded.output_tokens,
        device_ms = device_ms + excluded.device_ms,
        device_ps = device_ps + excluded.device_ps,
        input_ms = input_ms + excluded.input_ms,
        input_ps = input_ps + excluded.input_ps,
        cached_ms = cached_ms + excluded.cached_ms,
        cached_ps = cached_ps + excluded.cached_ps,
        output_ms = output_ms + excluded.output_ms,
        output_ps = output_ps + excluded.output_ps,
        bills = bills + excluded.bills,
        estimated_bills = estimated_bills + excluded.estimated_bills,
        unknown_bills = unknown_bills + excluded.unknown_bills,
        billed_nanos = billed_nanos + excluded.billed_nanos,
        billed_attos = billed_attos + excluded.billed_attos;
END;

-- Which arm a unit's request was assigned to. It is written before anything is sent.
CREATE TABLE assignments (
    experiment TEXT NOT NULL,
    arm TEXT NOT NULL,
    unit TEXT NOT NULL,
    request_id TEXT NOT NULL,
    assigned_us INTEGER NOT NULL,
    PRIMARY KEY (experiment, arm, unit, request_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX assignments_request ON assignments (request_id, experiment);

-- What is known of an answer's quality. A later value of the same source replaces the earlier one.
CREATE TABLE feedback (
    request_id TEXT NOT NULL,
    metric TEXT NOT NULL,
    source TEXT NOT NULL,
    value REAL,
    comment TEXT,
    received_us INTEGER NOT NULL,
    PRIMARY KEY (request_id, metric, source)
) STRICT, WITHOUT ROWID;

-- Verdicts at a fixed horizon. The first look decides: later ones change nothing.
CREATE TABLE verdicts (
    experiment TEXT NOT NULL,
    -- What was decided before the start: another plan is another verdict.
    plan TEXT NOT NULL,
    decided_us INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    PRIMARY KEY (experiment, plan)
) STRICT, WITHOUT ROWID;
