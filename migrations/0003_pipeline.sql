-- The pipeline's first half: what a deployment fetched, built and scanned, and the secrets it runs with.

-- In the shape that docs/SCANNING.md gives. An environment that says nothing gets the strict one.
ALTER TABLE environments ADD COLUMN IF NOT EXISTS scan_policy jsonb NOT NULL DEFAULT '{"mode": "required"}';
UPDATE environments SET scan_policy = '{"mode": "warn"}'
    WHERE name IN ('staging', 'preview') AND scan_policy = '{"mode": "required"}';

-- A finding that somebody has judged harmless here, until a date.
CREATE TABLE IF NOT EXISTS scan_allowances (
    id           uuid        CONSTRAINT scan_allowances_pkey PRIMARY KEY,
    environment  text        NOT NULL CONSTRAINT scan_allowances_environment_fkey
                             REFERENCES environments (name) ON DELETE CASCADE,
    finding      text        NOT NULL CONSTRAINT scan_allowances_finding_shape
                             CHECK (finding ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'),
    -- NULL: whichever package it is found in.
    package      text        CONSTRAINT scan_allowances_package_length CHECK (length(package) BETWEEN 1 AND 512),
    reason       text        NOT NULL CONSTRAINT scan_allowances_reason_length CHECK (length(reason) BETWEEN 1 AND 500),
    expires_at   timestamptz NOT NULL,
    created_by   uuid        CONSTRAINT scan_allowances_created_by_fkey REFERENCES users (id) ON DELETE SET NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX IF NOT EXISTS scan_allowances_place_key ON scan_allowances (environment, finding, coalesce(package, ''));
CREATE INDEX IF NOT EXISTS scan_allowances_created_by_idx ON scan_allowances (created_by) WHERE created_by IS NOT NULL;

-- Values are sealed (XChaCha20-Poly1305) with app and name as associated data: a row copied elsewhere does not open.
CREATE TABLE IF NOT EXISTS app_variables (
    app_id      uuid        NOT NULL CONSTRAINT app_variables_app_id_fkey REFERENCES apps (id) ON DELETE CASCADE,
    name        text        NOT NULL CONSTRAINT app_variables_name_shape CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,254}$'),
    scope       text        NOT NULL DEFAULT 'run' CONSTRAINT app_variables_scope_known CHECK (scope IN ('build', 'run', 'both')),
    secret      boolean     NOT NULL DEFAULT true,
    key_id      text        NOT NULL CONSTRAINT app_variables_key_id_length CHECK (length(key_id) BETWEEN 1 AND 32),
    sealed      bytea       NOT NULL CONSTRAINT app_variables_sealed_size CHECK (octet_length(sealed) <= 70000),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT app_variables_pkey PRIMARY KEY (app_id, name)
);

-- For git and registries. Of one app, or of all apps of an owner.
CREATE TABLE IF NOT EXISTS credentials (
    id          uuid        CONSTRAINT credentials_pkey PRIMARY KEY,
    owner_id    uuid        NOT NULL CONSTRAINT credentials_owner_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    app_id      uuid        CONSTRAINT credentials_app_id_fkey REFERENCES apps (id) ON DELETE CASCADE,
    kind        text        NOT NULL CONSTRAINT credentials_kind_known CHECK (kind IN ('git_token', 'deploy_key', 'registry')),
    -- Host and, where it is not the scheme's own, port: what the credential may be sent to and nothing else.
    host        text        NOT NULL CONSTRAINT credentials_host_shape CHECK (host ~ '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$'),
    username    text        CONSTRAINT credentials_username_length CHECK (length(username) BETWEEN 1 AND 255),
    key_id      text        NOT NULL CONSTRAINT credentials_key_id_length CHECK (length(key_id) BETWEEN 1 AND 32),
    sealed      bytea       NOT NULL CONSTRAINT credentials_sealed_size CHECK (octet_length(sealed) <= 70000),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX IF NOT EXISTS credentials_place_key ON credentials (owner_id, kind, host, coalesce(app_id, owner_id));
CREATE INDEX IF NOT EXISTS credentials_app_id_idx ON credentials (app_id) WHERE app_id IS NOT NULL;

ALTER TABLE deployments ADD COLUMN IF NOT EXISTS branch text
    CONSTRAINT deployments_branch_length CHECK (length(branch) BETWEEN 1 AND 255);
ALTER TABLE deployments ADD COLUMN IF NOT EXISTS commit_message text
    CONSTRAINT deployments_commit_message_length CHECK (length(commit_message) <= 1000);
ALTER TABLE deployments ADD COLUMN IF NOT EXISTS commit_author text
    CONSTRAINT deployments_commit_author_length CHECK (length(commit_author) <= 255);

-- How an image came to be. The image itself may have been collected since.
CREATE TABLE IF NOT EXISTS builds (
    deployment_id  uuid        CONSTRAINT builds_pkey PRIMARY KEY
                               CONSTRAINT builds_deployment_id_fkey REFERENCES deployments (id) ON DELETE CASCADE,
    builder        text        NOT NULL CONSTRAINT builds_builder_known CHECK (builder IN ('buildkit', 'classic')),
    image_id       text        NOT NULL CONSTRAINT builds_image_id_shape CHECK (image_id ~ '^sha256:[0-9a-f]{64}$'),
    -- What a registry knows it by; NULL until it is pushed to one.
    digest         text        CONSTRAINT builds_digest_shape CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    size_bytes     bigint      NOT NULL CONSTRAINT builds_size_positive CHECK (size_bytes >= 0),
    layers         integer     NOT NULL CONSTRAINT builds_layers_positive CHECK (layers >= 0),
    duration_ms    bigint      NOT NULL CONSTRAINT builds_duration_positive CHECK (duration_ms >= 0),
    -- What was recognised and why, the file that was built from, what the lint and the builder had to say of it.
    detection      jsonb       NOT NULL,
    dockerfile     text        NOT NULL,
    lint           jsonb       NOT NULL DEFAULT '[]',
    warnings       jsonb       NOT NULL DEFAULT '[]',
    created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS scans (
    deployment_id        uuid        NOT NULL CONSTRAINT scans_deployment_id_fkey REFERENCES deployments (id) ON DELETE CASCADE,
    kind                 text        NOT NULL CONSTRAINT scans_kind_known CHECK (kind IN ('source', 'image')),
    outcome              text        NOT NULL CONSTRAINT scans_outcome_known
                                     CHECK (outcome IN ('passed', 'warned', 'refused', 'skipped')),
    code                 text        CONSTRAINT scans_code_shape CHECK (code ~ '^DM-[0-9]{4}$'),
    summary              text        NOT NULL CONSTRAINT scans_summary_length CHECK (length(summary) <= 4000),
    -- NULL where no scan took place.
    report               jsonb,
    verdict              jsonb       NOT NULL DEFAULT '{}',
    sbom                 jsonb,
    duration_ms          bigint      NOT NULL CONSTRAINT scans_duration_positive CHECK (duration_ms >= 0),
    created_at           timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT scans_pkey PRIMARY KEY (deployment_id, kind)
);

-- A release's variables are apart from its immutable row, because a new key seals the same values anew.
CREATE TABLE IF NOT EXISTS release_variables (
    release_id  uuid        NOT NULL CONSTRAINT release_variables_release_id_fkey REFERENCES releases (id) ON DELETE CASCADE,
    name        text        NOT NULL CONSTRAINT release_variables_name_shape CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,254}$'),
    secret      boolean     NOT NULL,
    key_id      text        NOT NULL CONSTRAINT release_variables_key_id_length CHECK (length(key_id) BETWEEN 1 AND 32),
    sealed      bytea       NOT NULL CONSTRAINT release_variables_sealed_size CHECK (octet_length(sealed) <= 70000),
    CONSTRAINT release_variables_pkey PRIMARY KEY (release_id, name)
);

CREATE OR REPLACE FUNCTION release_variables_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.release_id, NEW.name, NEW.secret) IS DISTINCT FROM (OLD.release_id, OLD.name, OLD.secret) THEN
        RAISE EXCEPTION 'variables of a release are never changed'
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER release_variables_immutable BEFORE UPDATE ON release_variables
    FOR EACH ROW EXECUTE FUNCTION release_variables_guard();
