-- Who pays, as the request's key says; null without a key. The sums of days are made anew with it.
DROP TRIGGER attempt_days_add ON attempts;
DROP FUNCTION attempt_days_add;
DROP TABLE attempt_days;
ALTER TABLE attempts ADD COLUMN tenant TEXT;

-- What the attempts of a day came to together, so that a month is told without reading a row of each.
-- The day is that of `ended_us`, counted since 1970 in UTC. Where there is no adapter, key, user or
-- tenant, the text is empty: sums have to find their row. Device time is in milliseconds and the picoseconds
-- beyond, because a day of several devices does not fit one number.
CREATE TABLE attempt_days (
    day BIGINT NOT NULL,
    run BIGINT NOT NULL REFERENCES runs (id),
    outcome TEXT NOT NULL,
    model TEXT NOT NULL,
    adapter TEXT NOT NULL,
    api_key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
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
    PRIMARY KEY (day, run, outcome, model, adapter, api_key, user_id, tenant)
);

-- Rows that were there already, repeated by a flush, are not among the new ones.
CREATE FUNCTION attempt_days_add() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attempt_days AS days
    SELECT
        ended_us / 86400000000, run, outcome, model,
        coalesce(adapter, ''), coalesce(api_key, ''), coalesce(user_id, ''), coalesce(tenant, ''),
        count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens),
        sum(device_ps / 1000000000), sum(device_ps % 1000000000),
        sum(input_ps / 1000000000), sum(input_ps % 1000000000),
        sum(cached_ps / 1000000000), sum(cached_ps % 1000000000),
        sum(output_ps / 1000000000), sum(output_ps % 1000000000)
    FROM new_attempts
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ON CONFLICT (day, run, outcome, model, adapter, api_key, user_id, tenant) DO UPDATE SET
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
        output_ps = days.output_ps + excluded.output_ps;
    RETURN NULL;
END
$$;

INSERT INTO attempt_days
SELECT
    ended_us / 86400000000, run, outcome, model,
    coalesce(adapter, ''), coalesce(api_key, ''), coalesce(user_id, ''), coalesce(tenant, ''),
    count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens),
    sum(device_ps / 1000000000), sum(device_ps % 1000000000),
    sum(input_ps / 1000000000), sum(input_ps % 1000000000),
    sum(cached_ps / 1000000000), sum(cached_ps % 1000000000),
    sum(output_ps / 1000000000), sum(output_ps % 1000000000)
FROM attempts
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

CREATE TRIGGER attempt_days_add AFTER INSERT ON attempts
REFERENCING NEW TABLE AS new_attempts
FOR EACH STATEMENT EXECUTE FUNCTION attempt_days_add();
