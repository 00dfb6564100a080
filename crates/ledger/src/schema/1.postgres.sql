-- A process that served. Moments (_us) are microseconds, seconds are seconds since 1970 in UTC.
CREATE TABLE runs (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_us BIGINT NOT NULL,
    -- The latest flush.
    heartbeat_us BIGINT NOT NULL,
    -- Null while it runs, and for ever where it was killed.
    closed_us BIGINT,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    -- Null where no price is known.
    price_per_hour_usd NUMERIC
);

-- An attempt at answering a request. Device time (_ps) is in picoseconds.
CREATE TABLE attempts (
    ended_us BIGINT NOT NULL,
    run BIGINT NOT NULL REFERENCES runs (id),
    -- The run's own count: a flush that is repeated writes nothing twice.
    seq BIGINT NOT NULL,
    started_us BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    api_key TEXT,
    user_id TEXT,
    model TEXT NOT NULL,
    adapter TEXT,
    adapter_generation TEXT,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    device_ps BIGINT NOT NULL,
    input_ps BIGINT NOT NULL,
    cached_ps BIGINT NOT NULL,
    output_ps BIGINT NOT NULL,
    cost_usd NUMERIC,
    queue_seconds DOUBLE PRECISION,
    ttft_seconds DOUBLE PRECISION,
    itl_p50_seconds DOUBLE PRECISION,
    itl_p95_seconds DOUBLE PRECISION,
    outcome TEXT NOT NULL,
    status BIGINT NOT NULL,
    prompt TEXT,
    PRIMARY KEY (ended_us, run, seq)
);

-- What a run's device time went on in a minute: window = steps + idle + host + warm_up + adapter_load.
CREATE TABLE device_minutes (
    start_s BIGINT NOT NULL,
    run BIGINT NOT NULL REFERENCES runs (id),
    window_ps BIGINT NOT NULL,
    steps_ps BIGINT NOT NULL,
    idle_ps BIGINT NOT NULL,
    host_ps BIGINT NOT NULL,
    warm_up_ps BIGINT NOT NULL,
    adapter_load_ps BIGINT NOT NULL,
    PRIMARY KEY (start_s, run)
);
