-- What the fleet works on: jobs, the workers that claim them, and who leads the schedulers.

CREATE TABLE IF NOT EXISTS jobs (
    id                uuid        CONSTRAINT jobs_pkey PRIMARY KEY,
    kind              text        NOT NULL,
    environment       text        NOT NULL CONSTRAINT jobs_environment_fkey REFERENCES environments (name),
    priority          smallint    NOT NULL DEFAULT 0,
    state             text        NOT NULL DEFAULT 'queued',
    payload           jsonb       NOT NULL DEFAULT '{}',
    -- Whose locks it must hold when it starts. A job that asks later gets its targets here when it parks.
    targets           text[]      NOT NULL DEFAULT '{}',
    app_id            uuid        CONSTRAINT jobs_app_id_fkey REFERENCES apps (id) ON DELETE CASCADE,
    deployment_id     uuid        CONSTRAINT jobs_deployment_id_fkey REFERENCES deployments (id) ON DELETE CASCADE,
    -- +1 at each claim. Every later write names it, so a worker that lost its claim changes nothing.
    attempt           integer     NOT NULL DEFAULT 0,
    -- Runs that ended in a retryable error, and workers that died with it.
    tries             integer     NOT NULL DEFAULT 0,
    recoveries        integer     NOT NULL DEFAULT 0,
    worker_id         uuid,
    cancel_requested  text,
    code              text,
    reason            text,
    trace_context     text,
    run_at            timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    queued_at         timestamptz NOT NULL DEFAULT now(),
    claimed_at        timestamptz,
    started_at        timestamptz,
    finished_at       timestamptz,
    CONSTRAINT jobs_kind_shape CHECK (kind ~ '^[a-z][a-z0-9_-]{0,39}$'),
    CONSTRAINT jobs_priority_known CHECK (priority IN (0, 1)),
    CONSTRAINT jobs_state_known CHECK (state IN (
        'queued', 'running', 'succeeded', 'failed', 'cancelled', 'superseded', 'quarantined')),
    CONSTRAINT jobs_payload_size CHECK (octet_length(payload::text) <= 16384),
    CONSTRAINT jobs_targets_count CHECK (cardinality(targets) <= 64),
    CONSTRAINT jobs_cancel_known CHECK (cancel_requested IN ('user', 'superseded')),
    CONSTRAINT jobs_code_shape CHECK (code ~ '^DM-[0-9]{4}$'),
    CONSTRAINT jobs_reason_length CHECK (length(reason) <= 4000),
    CONSTRAINT jobs_running_has_worker CHECK (state <> 'running' OR worker_id IS NOT NULL),
    CONSTRAINT jobs_finished_at_end CHECK ((state IN ('queued', 'running')) = (finished_at IS NULL))
) WITH (fillfactor = 80);

-- One begun and unfinished job per app, however the queues get confused.
CREATE UNIQUE INDEX IF NOT EXISTS jobs_one_begun_per_app ON jobs (app_id)
    WHERE app_id IS NOT NULL AND started_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX IF NOT EXISTS jobs_app_unfinished_idx ON jobs (app_id, id) WHERE app_id IS NOT NULL AND finished_at IS NULL;
-- Unfinished ones too: deleting an app looks here for all that is its.
CREATE INDEX IF NOT EXISTS jobs_app_finished_idx ON jobs (app_id, finished_at) WHERE app_id IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS jobs_deployment_id_key ON jobs (deployment_id) WHERE deployment_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_queued_idx ON jobs (id) WHERE state = 'queued';
-- What a worker holds. Its condition is on purpose not `state = 'running'`: the finishing statement names that state, and
-- would be planned through this index, past every entry that vacuum has not cleared yet, instead of by id.
CREATE INDEX IF NOT EXISTS jobs_held_idx ON jobs (worker_id) WHERE worker_id IS NOT NULL AND finished_at IS NULL;
CREATE INDEX IF NOT EXISTS jobs_quarantined_idx ON jobs (id) WHERE state = 'quarantined';
CREATE INDEX IF NOT EXISTS jobs_finished_at_idx ON jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE OR REPLACE FUNCTION jobs_guard_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT ((OLD.state = 'queued' AND NEW.state IN ('running', 'cancelled', 'superseded', 'failed'))
         OR (OLD.state = 'running' AND NEW.state <> 'running')
         OR (OLD.state = 'quarantined' AND NEW.state IN ('queued', 'failed'))) THEN
        RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'jobs_state_transition';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER jobs_state_transition
    BEFORE UPDATE OF state ON jobs FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION jobs_guard_state();

CREATE TABLE IF NOT EXISTS workers (
    id            uuid        CONSTRAINT workers_pkey PRIMARY KEY,
    environments  text[]      NOT NULL,
    concurrency   integer     NOT NULL CONSTRAINT workers_concurrency_positive CHECK (concurrency > 0),
    hostname      text        NOT NULL CONSTRAINT workers_hostname_length CHECK (length(hostname) <= 255),
    version       text        NOT NULL CONSTRAINT workers_version_length CHECK (length(version) <= 64),
    state         text        NOT NULL DEFAULT 'alive'
                              CONSTRAINT workers_state_known CHECK (state IN ('alive', 'dead', 'stopped')),
    started_at    timestamptz NOT NULL DEFAULT now(),
    last_seen     timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz
);
CREATE INDEX IF NOT EXISTS workers_state_idx ON workers (state, last_seen);

-- One row per thing that only one process may do at a time. `term` grows with each new holder.
CREATE TABLE IF NOT EXISTS leases (
    name        text        CONSTRAINT leases_pkey PRIMARY KEY,
    holder      uuid        NOT NULL,
    term        bigint      NOT NULL DEFAULT 1,
    expires_at  timestamptz NOT NULL
);
