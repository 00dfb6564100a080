-- A process that served. Moments (_us) are microseconds, seconds are seconds since 1970 in UTC.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started_us INTEGER NOT NULL,
    -- The latest flush.
    heartbeat_us INTEGER NOT NULL,
    -- Null while it runs, and for ever where it was killed.
    closed_us INTEGER,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    -- A decimal; null where no price is known.
    price_per_hour_usd TEXT
) STRICT;

-- An attempt at answering a request. Device time (_ps) is in picoseconds.
CREATE TABLE attempts (
    ended_us INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (id),
    -- The run's own count: a flush that is repeated writes nothing twice.
    seq INTEGER NOT NULL,
    started_us INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    api_key TEXT,
    user_id TEXT,
    model TEXT NOT NULL,
    adapter TEXT,
    adapter_generation TEXT,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    device_ps INTEGER NOT NULL,
    input_ps INTEGER NOT NULL,
    cached_ps INTEGER NOT NULL,
    output_ps INTEGER NOT NULL,
    -- A decimal.
    cost_usd TEXT,
    queue_seconds REAL,
    ttft_seconds REAL,
    itl_p50_seconds REAL,
    itl_p95_seconds REAL,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    prompt TEXT,
    PRIMARY KEY (ended_us, run, seq)
) STRICT, WITHOUT ROWID;

-- What a run's device time went on in a minute: window = steps + idle + host + warm_up + adapter_load.
CREATE TABLE device_minutes (
    start_s INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (id),
    window_ps INTEGER NOT NULL,
    steps_ps INTEGER NOT NULL,
    idle_ps INTEGER NOT NULL,
    host_ps INTEGER NOT NULL,
    warm_up_ps INTEGER NOT NULL,
    adapter_load_ps INTEGER NOT NULL,
    PRIMARY KEY (start_s, run)
) STRICT, WITHOUT ROWID;
