-- The pipeline's second half: how a release takes over, what users reach, and what keeps a bad version from coming back.

-- Off: pushes do not deploy until somebody lets them again.
ALTER TABLE apps ADD COLUMN IF NOT EXISTS auto_deploy boolean NOT NULL DEFAULT true;
ALTER TABLE apps ADD COLUMN IF NOT EXISTS pinned_reason text
    CONSTRAINT apps_pinned_reason_length CHECK (length(pinned_reason) <= 1000);
-- Automatic ways back since a release last stayed or a person acted.
ALTER TABLE apps ADD COLUMN IF NOT EXISTS automatic_rollbacks integer NOT NULL DEFAULT 0
    CONSTRAINT apps_automatic_rollbacks_positive CHECK (automatic_rollbacks >= 0);
ALTER TABLE apps ADD COLUMN IF NOT EXISTS host_mounts boolean NOT NULL DEFAULT false;

-- How the target is reached; NULL where its name says enough (the worker's own engine for docker://local).
ALTER TABLE targets ADD COLUMN IF NOT EXISTS address text
    CONSTRAINT targets_address_length CHECK (length(address) BETWEEN 1 AND 2048);
-- TLS bundle or SSH key, sealed with the target's name as associated data.
ALTER TABLE targets ADD COLUMN IF NOT EXISTS key_id text
    CONSTRAINT targets_key_id_length CHECK (length(key_id) BETWEEN 1 AND 32);
ALTER TABLE targets ADD COLUMN IF NOT EXISTS sealed bytea
    CONSTRAINT targets_sealed_size CHECK (octet_length(sealed) <= 70000)
    CONSTRAINT targets_sealed_has_key CHECK ((sealed IS NULL) = (key_id IS NULL));

-- Who asked for it is in `deployments`; here is how far it has come. `state` is the deciding machine's own, `slots` what the
-- driver named on each target. Both are written after every action, so that another worker goes on from there.
CREATE TABLE IF NOT EXISTS rollouts (
    deployment_id        uuid        CONSTRAINT rollouts_pkey PRIMARY KEY
                                     CONSTRAINT rollouts_deployment_id_fkey REFERENCES deployments (id) ON DELETE CASCADE,
    app_id               uuid        NOT NULL CONSTRAINT rollouts_app_id_fkey REFERENCES apps (id) ON DELETE CASCADE,
    release_id           uuid        NOT NULL CONSTRAINT rollouts_release_id_fkey REFERENCES releases (id) ON DELETE CASCADE,
    previous_release_id  uuid        CONSTRAINT rollouts_previous_release_id_fkey REFERENCES releases (id) ON DELETE SET NULL,
    strategy             text        NOT NULL CONSTRAINT rollouts_strategy_known
                                     CHECK (strategy IN ('rolling', 'canary', 'blue-green')),
    slots                jsonb       NOT NULL CONSTRAINT rollouts_slots_size CHECK (octet_length(slots::text) <= 262144),
    state                jsonb       NOT NULL CONSTRAINT rollouts_state_size CHECK (octet_length(state::text) <= 262144),
    -- +1 at each save.
    seq                  bigint      NOT NULL DEFAULT 0 CONSTRAINT rollouts_seq_positive CHECK (seq >= 0),
    outcome              text        CONSTRAINT rollouts_outcome_known
                                     CHECK (outcome IN ('done', 'withdrawn', 'reverted', 'kept', 'left')),
    reason               text        CONSTRAINT rollouts_reason_length CHECK (length(reason) <= 4000),
    started_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    finished_at          timestamptz,
    CONSTRAINT rollouts_finished_at_end CHECK ((outcome IS NULL) = (finished_at IS NULL))
);
CREATE INDEX IF NOT EXISTS rollouts_app_id_idx ON rollouts (app_id);
CREATE INDEX IF NOT EXISTS rollouts_release_id_idx ON rollouts (release_id);
CREATE INDEX IF NOT EXISTS rollouts_previous_release_id_idx ON rollouts (previous_release_id)
    WHERE previous_release_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS rollouts_unfinished_idx ON rollouts (deployment_id) WHERE outcome IS NULL;

-- What people ask of a roll-out while it runs, in order.
CREATE TABLE IF NOT EXISTS rollout_commands (
    id             bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT rollout_commands_pkey PRIMARY KEY,
    deployment_id  uuid        NOT NULL CONSTRAINT rollout_commands_deployment_id_fkey
                               REFERENCES rollouts (deployment_id) ON DELETE CASCADE,
    command        text        NOT NULL CONSTRAINT rollout_commands_command_known
                               CHECK (command IN ('pause', 'resume', 'promote', 'abort')),
    requested_by   uuid        CONSTRAINT rollout_commands_requested_by_fkey REFERENCES users (id) ON DELETE SET NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS rollout_commands_deployment_id_idx ON rollout_commands (deployment_id, id);
CREATE INDEX IF NOT EXISTS rollout_commands_requested_by_idx ON rollout_commands (requested_by)
    WHERE requested_by IS NOT NULL;

-- What users reach, as the last finished roll-out left it.
CREATE TABLE IF NOT EXISTS serving (
    app_id         uuid        NOT NULL CONSTRAINT serving_app_id_fkey REFERENCES apps (id) ON DELETE CASCADE,
    target         text        NOT NULL CONSTRAINT serving_target_fkey REFERENCES targets (name),
    release_id     uuid        NOT NULL CONSTRAINT serving_release_id_fkey REFERENCES releases (id) ON DELETE CASCADE,
    deployment_id  uuid        NOT NULL,
    slot           text        NOT NULL CONSTRAINT serving_slot_length CHECK (length(slot) BETWEEN 1 AND 255),
    epoch          bigint      NOT NULL CONSTRAINT serving_epoch_positive CHECK (epoch >= 0),
    since          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT serving_pkey PRIMARY KEY (app_id, target)
);
CREATE INDEX IF NOT EXISTS serving_target_idx ON serving (target);
CREATE INDEX IF NOT EXISTS serving_release_id_idx ON serving (release_id);
CREATE INDEX IF NOT EXISTS serving_deployment_id_idx ON serving (deployment_id);

-- Commits that users were taken back from. A push of one is refused.
CREATE TABLE IF NOT EXISTS bad_commits (
    app_id         uuid        NOT NULL CONSTRAINT bad_commits_app_id_fkey REFERENCES apps (id) ON DELETE CASCADE,
    commit_sha     text        NOT NULL CONSTRAINT bad_commits_commit_shape CHECK (commit_sha ~ '^[0-9a-f]{40}([0-9a-f]{24})?$'),
    deployment_id  uuid        CONSTRAINT bad_commits_deployment_id_fkey REFERENCES deployments (id) ON DELETE SET NULL,
    reason         text        NOT NULL CONSTRAINT bad_commits_reason_length CHECK (length(reason) <= 4000),
    at             timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT bad_commits_pkey PRIMARY KEY (app_id, commit_sha)
);
CREATE INDEX IF NOT EXISTS bad_commits_deployment_id_idx ON bad_commits (deployment_id) WHERE deployment_id IS NOT NULL;

-- A release is rolled out by its own deployment and by every way back to it.
CREATE INDEX IF NOT EXISTS deployments_release_id_idx ON deployments (release_id) WHERE release_id IS NOT NULL;
-- Whether somebody sees to a roll-out, or to a target, already.
CREATE INDEX IF NOT EXISTS jobs_settle_idx ON jobs ((payload ->> 'deployment_id')) WHERE kind = 'settle';
CREATE INDEX IF NOT EXISTS jobs_collect_idx ON jobs ((payload ->> 'target'), created_at) WHERE kind = 'collect';
