-- The record: who, what, where to, and every attempt. Redis can be rebuilt from these tables at any moment.

CREATE TABLE IF NOT EXISTS users (
    id          uuid        CONSTRAINT users_pkey PRIMARY KEY,
    github_id   bigint      CONSTRAINT users_github_id_key UNIQUE,
    login       text        NOT NULL CONSTRAINT users_login_length CHECK (length(login) BETWEEN 1 AND 100),
    role        text        NOT NULL DEFAULT 'member' CONSTRAINT users_role_known CHECK (role IN ('member', 'admin')),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS environments (
    name            text        CONSTRAINT environments_pkey PRIMARY KEY,
    overlap_policy  text        NOT NULL DEFAULT 'newest',
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT environments_name_shape CHECK (name ~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$'),
    CONSTRAINT environments_overlap_known CHECK (overlap_policy IN ('newest', 'queue', 'override'))
);

INSERT INTO environments (name) VALUES ('production'), ('staging'), ('preview') ON CONFLICT DO NOTHING;

-- The instance that is locked. `epoch` fences every effect on it: one more at each claim, lower ones are refused.
CREATE TABLE IF NOT EXISTS targets (
    name        text        CONSTRAINT targets_pkey PRIMARY KEY
                            CONSTRAINT targets_name_length CHECK (length(name) BETWEEN 1 AND 255),
    epoch       bigint      NOT NULL DEFAULT 0 CONSTRAINT targets_epoch_positive CHECK (epoch >= 0),
    -- Who took the present epoch and when. It may have let go since; Redis knows whether the lock is held.
    claimed_by  uuid,
    claimed_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS apps (
    id           uuid        CONSTRAINT apps_pkey PRIMARY KEY,
    owner_id     uuid        NOT NULL CONSTRAINT apps_owner_id_fkey REFERENCES users (id),
    name         text        NOT NULL CONSTRAINT apps_name_shape CHECK (name ~ '^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'),
    repository   text        NOT NULL CONSTRAINT apps_repository_length CHECK (length(repository) BETWEEN 1 AND 2048),
    branch       text        NOT NULL CONSTRAINT apps_branch_length CHECK (length(branch) BETWEEN 1 AND 255),
    environment  text        NOT NULL CONSTRAINT apps_environment_fkey REFERENCES environments (name),
    settings     jsonb       NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT apps_owner_name_key UNIQUE (owner_id, name)
);
CREATE INDEX IF NOT EXISTS apps_environment_idx ON apps (environment);

CREATE TABLE IF NOT EXISTS app_targets (
    app_id  uuid NOT NULL CONSTRAINT app_targets_app_id_fkey REFERENCES apps (id) ON DELETE CASCADE,
    target  text NOT NULL CONSTRAINT app_targets_target_fkey REFERENCES targets (name),
    CONSTRAINT app_targets_pkey PRIMARY KEY (app_id, target)
);
CREATE INDEX IF NOT EXISTS app_targets_target_idx ON app_targets (target);

CREATE TABLE IF NOT EXISTS deployments (
    id             uuid        CONSTRAINT deployments_pkey PRIMARY KEY,
    app_id         uuid        NOT NULL CONSTRAINT deployments_app_id_fkey REFERENCES apps (id) ON DELETE CASCADE,
    environment    text        NOT NULL CONSTRAINT deployments_environment_fkey REFERENCES environments (name),
    requested_by   uuid        CONSTRAINT deployments_requested_by_fkey REFERENCES users (id),
    trigger        text        NOT NULL,
    commit_sha     text,
    release_id     uuid,
    status         text        NOT NULL DEFAULT 'PENDING',
    code           text,
    reason         text,
    superseded_by  uuid,
    created_at     timestamptz NOT NULL DEFAULT now(),
    started_at     timestamptz,
    finished_at    timestamptz,
    CONSTRAINT deployments_trigger_known CHECK (trigger IN ('manual', 'push', 'rollback', 'retry')),
    CONSTRAINT deployments_commit_shape CHECK (commit_sha ~ '^[0-9a-f]{40}([0-9a-f]{24})?$'),
    CONSTRAINT deployments_code_shape CHECK (code ~ '^DM-[0-9]{4}$'),
    CONSTRAINT deployments_reason_length CHECK (length(reason) <= 4000),
    CONSTRAINT deployments_status_known CHECK (status IN (
        'PENDING', 'AWAITING_APPROVAL', 'QUEUED', 'CLONING', 'SECURITY_SCANNING', 'BUILDING', 'DEPLOYING', 'DEPLOYED',
        'SECURITY_FAILED', 'FAILED', 'ROLLING_BACK', 'ROLLED_BACK', 'CANCELLED', 'SUPERSEDED'))
);
CREATE INDEX IF NOT EXISTS deployments_app_id_idx ON deployments (app_id, id DESC);
CREATE INDEX IF NOT EXISTS deployments_requested_by_idx ON deployments (requested_by) WHERE requested_by IS NOT NULL;
CREATE INDEX IF NOT EXISTS deployments_finished_at_idx ON deployments (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS releases (
    id             uuid        CONSTRAINT releases_pkey PRIMARY KEY,
    app_id         uuid        NOT NULL CONSTRAINT releases_app_id_fkey REFERENCES apps (id) ON DELETE CASCADE,
    deployment_id  uuid        NOT NULL CONSTRAINT releases_deployment_id_fkey REFERENCES deployments (id) ON DELETE CASCADE
                               CONSTRAINT releases_deployment_id_key UNIQUE,
    image_digest   text        NOT NULL CONSTRAINT releases_digest_shape CHECK (image_digest ~ '^sha256:[0-9a-f]{64}$'),
    -- Everything else that decides how it runs: variables (encrypted), port, health check, resources.
    spec           jsonb       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS releases_app_id_idx ON releases (app_id, id DESC);

CREATE TABLE IF NOT EXISTS deployment_steps (
    deployment_id  uuid        NOT NULL CONSTRAINT deployment_steps_deployment_id_fkey
                               REFERENCES deployments (id) ON DELETE CASCADE,
    step           text        NOT NULL CONSTRAINT deployment_steps_step_shape CHECK (step ~ '^[a-z][a-z0-9_]{0,39}$'),
    state          text        NOT NULL CONSTRAINT deployment_steps_state_known
                               CHECK (state IN ('started', 'done', 'failed', 'undone')),
    attempt        integer     NOT NULL,
    epoch          bigint,
    output         jsonb,
    started_at     timestamptz NOT NULL DEFAULT now(),
    finished_at    timestamptz,
    CONSTRAINT deployment_steps_pkey PRIMARY KEY (deployment_id, step)
);

-- Append-only: a line that was shown is never changed.
CREATE TABLE IF NOT EXISTS deployment_logs (
    deployment_id  uuid        NOT NULL CONSTRAINT deployment_logs_deployment_id_fkey
                               REFERENCES deployments (id) ON DELETE CASCADE,
    seq            bigint      NOT NULL CONSTRAINT deployment_logs_seq_positive CHECK (seq > 0),
    at             timestamptz NOT NULL DEFAULT now(),
    level          text        NOT NULL CONSTRAINT deployment_logs_level_known
                               CHECK (level IN ('debug', 'info', 'warn', 'error')),
    line           text        NOT NULL,
    CONSTRAINT deployment_logs_pkey PRIMARY KEY (deployment_id, seq)
);

CREATE TABLE IF NOT EXISTS events (
    deployment_id  uuid        NOT NULL CONSTRAINT events_deployment_id_fkey
                               REFERENCES deployments (id) ON DELETE CASCADE,
    seq            bigint      NOT NULL CONSTRAINT events_seq_positive CHECK (seq > 0),
    at             timestamptz NOT NULL DEFAULT now(),
    kind           text        NOT NULL CONSTRAINT events_kind_shape CHECK (kind ~ '^[a-z][a-z_]{0,39}$'),
    body           jsonb       NOT NULL DEFAULT '{}',
    CONSTRAINT events_pkey PRIMARY KEY (deployment_id, seq)
);

CREATE TABLE IF NOT EXISTS audit_log (
    id        bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_log_pkey PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    actor_id  uuid,
    action    text        NOT NULL CONSTRAINT audit_log_action_shape CHECK (action ~ '^[a-z][a-z_.]{0,79}$'),
    resource  text        NOT NULL CONSTRAINT audit_log_resource_length CHECK (length(resource) <= 255),
    detail    jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS audit_log_resource_idx ON audit_log (resource, id DESC);

-- The same table as `DeploymentStatus::may_become`; a test compares the two.
CREATE OR REPLACE FUNCTION deployment_may_become(was text, becomes text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN was IN ('DEPLOYED', 'SECURITY_FAILED', 'FAILED', 'ROLLED_BACK', 'CANCELLED', 'SUPERSEDED') THEN false
        WHEN becomes = 'FAILED' THEN true
        WHEN was = 'ROLLING_BACK' THEN becomes = 'ROLLED_BACK'
        WHEN becomes = 'CANCELLED' THEN true
        WHEN was = 'DEPLOYING' THEN becomes IN ('DEPLOYED', 'ROLLING_BACK')
        WHEN becomes = 'SUPERSEDED' THEN true
        WHEN was = 'PENDING' THEN becomes IN ('AWAITING_APPROVAL', 'QUEUED')
        WHEN was = 'AWAITING_APPROVAL' THEN becomes = 'QUEUED'
        WHEN was = 'QUEUED' THEN becomes IN ('CLONING', 'SECURITY_SCANNING', 'BUILDING', 'DEPLOYING')
        WHEN was = 'CLONING' THEN becomes IN ('QUEUED', 'SECURITY_SCANNING', 'BUILDING', 'SECURITY_FAILED')
        WHEN was = 'SECURITY_SCANNING' THEN becomes IN ('QUEUED', 'BUILDING', 'DEPLOYING', 'SECURITY_FAILED')
        WHEN was = 'BUILDING' THEN becomes IN ('QUEUED', 'SECURITY_SCANNING', 'DEPLOYING', 'SECURITY_FAILED')
        ELSE false
    END
$$;

CREATE OR REPLACE FUNCTION deployments_guard_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT deployment_may_become(OLD.status, NEW.status) THEN
        RAISE EXCEPTION 'deployment % cannot go from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deployments_status_transition';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER deployments_status_transition
    BEFORE UPDATE OF status ON deployments FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION deployments_guard_status();

CREATE OR REPLACE FUNCTION refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;

CREATE OR REPLACE TRIGGER releases_immutable BEFORE UPDATE ON releases
    FOR EACH ROW EXECUTE FUNCTION refuse_update();
CREATE OR REPLACE TRIGGER deployment_logs_append_only BEFORE UPDATE ON deployment_logs
    FOR EACH ROW EXECUTE FUNCTION refuse_update();
CREATE OR REPLACE TRIGGER events_append_only BEFORE UPDATE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_update();
CREATE OR REPLACE TRIGGER audit_log_append_only BEFORE UPDATE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_update();
