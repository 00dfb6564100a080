-- Who pays, as the request's key says; null without a key. The sums of days are made anew with it.
DROP TRIGGER attempt_days_add;
DROP TABLE attempt_days;
ALTER TABLE attempts ADD COLUMN tenant TEXT;

-- What the attempts of a day came to together, so that a month is told without reading a row of each.
-- The day is that of `ended_us`, counted since 1970 in UTC. Where there is no adapter, key, user or
-- tenant, the text is empty: sums have to find their row. Device time is in milliseconds and the picoseconds
-- beyond, because a day of several devices does not fit one number.
CREATE TABLE attempt_days (
    day INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (id),
    outcome TEXT NOT NULL,
    model TEXT NOT NULL,
    adapter TEXT NOT NULL,
    api_key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
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
    PRIMARY KEY (day, run, outcome, model, adapter, api_key, user_id, tenant)
) STRICT, WITHOUT ROWID;

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

CREATE TRIGGER attempt_days_add AFTER INSERT ON attempts BEGIN
    INSERT INTO attempt_days VALUES (
        new.ended_us / 86400000000, new.run, new.outcome, new.model,
        coalesce(new.adapter, ''), coalesce(new.api_key, ''), coalesce(new.user_id, ''),
        coalesce(new.tenant, ''),
        1, new.input_tokens, new.cached_tokens, new.output_tokens,
        new.device_ps / 1000000000, new.device_ps % 1000000000,
        new.input_ps / 1000000000, new.input_ps % 1000000000,
        new.cached_ps / 1000000000, new.cached_ps % 1000000000,
        new.output_ps / 1000000000, new.output_ps % 1000000000
    )
    ON CONFLICT (day, run, outcome, model, adapter, api_key, user_id, tenant) DO UPDATE SET
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
        output_ps = output_ps + excluded.output_ps;
END;
