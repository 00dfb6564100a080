-- Vendors' bills, routes and experiments. The sums of days are made anew with them.
DROP TRIGGER attempt_days_add ON attempts;
DROP FUNCTION attempt_days_add;
DROP TABLE attempt_days;

-- Several attempts may answer one request, at vendors, too. `attempt` counts them within the request.
-- `arm` is the arm that served; `experiment`, `assigned_arm` and `unit` are those that were assigned.
-- `booked_to` is the experiment that pays for a shadow, a judge or a replay; null if the caller pays.
-- The bill is exact: nanodollars, and the attodollars beyond. It is null where it is unknown.
ALTER TABLE attempts ADD COLUMN route TEXT;
ALTER TABLE attempts ADD COLUMN role TEXT;
ALTER TABLE attempts ADD COLUMN attempt BIGINT;
ALTER TABLE attempts ADD COLUMN arm TEXT;
ALTER TABLE attempts ADD COLUMN experiment TEXT;
ALTER TABLE attempts ADD COLUMN assigned_arm TEXT;
ALTER TABLE attempts ADD COLUMN unit TEXT;
ALTER TABLE attempts ADD COLUMN booked_to TEXT;
ALTER TABLE attempts ADD COLUMN vendor TEXT;
ALTER TABLE attempts ADD COLUMN vendor_model TEXT;
ALTER TABLE attempts ADD COLUMN vendor_usage TEXT;
ALTER TABLE attempts ADD COLUMN billed_nanos BIGINT;
ALTER TABLE attempts ADD COLUMN billed_attos BIGINT;
ALTER TABLE attempts ADD COLUMN basis TEXT;

-- All attempts of a request.
CREATE INDEX attempts_request ON attempts (request_id);
CREATE INDEX attempts_experiment ON attempts (experiment) WHERE experiment IS NOT NULL;

-- What the attempts of a day came to together, so that a month is told without reading a row of each.
-- The day is that of `ended_us`, counted since 1970 in UTC. Where a text is missing it is empty: sums have
-- to find their row. What is booked to an experiment has no caller. Device time is in milliseconds and the
-- picoseconds beyond, and bills are in nanodollars and the attodollars beyond, because a day's sum does
-- not fit one number. The texts together are too long for an index: their hash finds a row.
CREATE TABLE attempt_days (
    day BIGINT NOT NULL,
    run BIGINT NOT NULL REFERENCES runs (id),
    outcome TEXT NOT NULL,
    model TEXT NOT NULL,
    adapter TEXT NOT NULL,
    api_key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    booked_to TEXT NOT NULL,
    vendor TEXT NOT NULL,
    vendor_model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    device_ms BIGINT NOT NULL,
    device_ps BIGINT NOT NULL,
    input_ms BIGINT NOT NULL,
    input_ps BIGINT NOT NULL,
    cached_ms BIGINT NOT NULL,
    cached_ps BIGINT NOT NULL,
    output_ms BIGINT NOT NULL,
    output_ps BIGINT NOT NULL,
    -- Attempts at a vendor; of these, those whose bill is estimated, and those whose bill is unknown.
    bills BIGINT NOT NULL,
    estimated_bills BIGINT NOT NULL,
    unknown_bills BIGINT NOT NULL,
    billed_nanos BIGINT NOT NULL,
    billed_attos BIGINT NOT NULL,
    texts_hash BYTEA NOT NULL,
    PRIMARY KEY (day, run, texts_hash)
);

-- Rows that were there already, repeated by a flush, are not among the new ones.
CREATE FUNCTION attempt_days_add() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attempt_days AS days
    SELECT *, sha256(convert_to(ROW(
        outcome, model, adapter, api_key, user_id, tenant, booked_to, vendor, vendor_model
    )::text, 'UTF8'))
    FROM (
        SELECT
            ended_us / 86400000000 AS day, run,
            outcome, model, coalesce(adapter, '') AS adapter,
            CASE WHEN booked_to IS NULL THEN coalesce(api_key, '') ELSE '' END AS api_key,
            CASE WHEN booked_to IS NULL THEN coalesce(user_id, '') ELSE '' END AS user_id,
            CASE WHEN booked_to IS NULL THEN coalesce(tenant, '') ELSE '' END AS tenant,
            coalesce(booked_to, '') AS booked_to, coalesce(vendor, '') AS vendor,
            coalesce(vendor_model, '') AS vendor_model,
            count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens),
            sum(device_ps / 1000000000), sum(device_ps % 1000000000),
            sum(input_ps / 1000000000), sum(input_ps % 1000000000),
            sum(cached_ps / 1000000000), sum(cached_ps % 1000000000),
            sum(output_ps / 1000000000), sum(output_ps % 1000000000),
            sum(CASE WHEN vendor IS NULL THEN 0 ELSE 1 END),
            sum(CASE WHEN basis = 'estimated' THEN 1 ELSE 0 END),
            sum(CASE WHEN basis = 'unknown' THEN 1 ELSE 0 END),
            sum(coalesce(billed_nanos, 0)), sum(coalesce(billed_attos, 0))
        FROM new_attempts
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
    ) AS sums
    ON CONFLICT (day, run, texts_hash) DO UPDATE SET
        requests = days.requests + excluded.requests,
        input_tokens = days.input_tokens + excluded.input_tokens,
        cached_tokens = days.cached_tokens + excluded.cached_tokens,
        output_tokens = days.output_tokens + excluded.output_tokens,
        device_ms = days.device_ms + excluded.device_ms,
        device_ps = days.device_ps + excluded.device_ps,
        input_ms = days.input_ms + excluded.input_ms,
        input_ps = days.input_ps + excluded.input_ps,
        cached_ms = days.cached_ms + excluded.cached_ms,
        cached_ps = days.cached_ps + excluded.cached_ps,
        output_ms = days.output_ms + excluded.output_ms,
        output_ps = days.output_ps + excluded.output_ps,
        bills = days.bills + excluded.bills,
        estimated_bills = days.estimated_bills + excluded.estimated_bills,
        unknown_bills = days.unknown_bills + excluded.unknown_bills,
        billed_nanos = days.billed_nanos + excluded.billed_nanos,
        billed_attos = days.billed_attos + excluded.billed_attos;
    RETURN NULL;
END
$$;

INSERT INTO attempt_days
    SELECT *, sha256(convert_to(ROW(
        outcome, model, adapter, api_key, user_id, tenant, booked_to, vendor, vendor_model
    )::text, 'UTF8'))
    FROM (
        SELECT
            ended_us / 86400000000 AS day, run,
            outcome, model, coalesce(adapter, '') AS adapter,
            CASE WHEN booked_to IS NULL THEN coalesce(api_key, '') ELSE '' END AS api_key,
            CASE WHEN booked_to IS NULL THEN coalesce(user_id, '') ELSE '' END AS user_id,
            CASE WHEN booked_to IS NULL THEN coalesce(tenant, '') ELSE '' END AS tenant,
            coalesce(booked_to, '') AS booked_to, coalesce(vendor, '') AS vendor,
            coalesce(vendor_model, '') AS vendor_model,
            count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens),
            sum(device_ps / 1000000000), sum(device_ps % 1000000000),
            sum(input_ps / 1000000000), sum(input_ps % 1000000000),
            sum(cached_ps / 1000000000), sum(cached_ps % 1000000000),
            sum(output_ps / 1000000000), sum(output_ps % 1000000000),
            sum(CASE WHEN vendor IS NULL THEN 0 ELSE 1 END),
            sum(CASE WHEN basis = 'estimated' THEN 1 ELSE 0 END),
            sum(CASE WHEN basis = 'unknown' THEN 1 ELSE 0 END),
            sum(coalesce(billed_nanos, 0)), sum(coalesce(billed_attos, 0))
        FROM attempts
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
    ) AS sums;

CREATE TRIGGER attempt_days_add AFTER INSERT ON attempts
REFERENCING NEW TABLE AS new_attempts
FOR EACH STATEMENT EXECUTE FUNCTION attempt_days_add();

-- Which arm a unit's request was assigned to. It is written before anything is sent.
CREATE TABLE assignments (
    experiment TEXT NOT NULL,
    arm TEXT NOT NULL,
    unit TEXT NOT NULL,
    request_id TEXT NOT NULL,
    assigned_us BIGINT NOT NULL,
    PRIMARY KEY (experiment, request_id)
);
CREATE INDEX assignments_request ON assignments (request_id);

-- What is known of an answer's quality. A later value of the same source replaces the earlier one.
CREATE TABLE feedback (
    request_id TEXT NOT NULL,
    metric TEXT NOT NULL,
    source TEXT NOT NULL,
    value DOUBLE PRECISION,
    comment TEXT,
    received_us BIGINT NOT NULL,
    PRIMARY KEY (request_id, metric, source)
);

-- Verdicts at a fixed horizon. The first look decides: later ones change nothing.
CREATE TABLE verdicts (
    experiment TEXT NOT NULL,
    -- What was decided before the start: another plan is another verdict.
    plan TEXT NOT NULL,
    decided_us BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    PRIMARY KEY (experiment, plan)
);
