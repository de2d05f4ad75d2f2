-- The key that seals a workspace's secrets, under the master key that `master_key_id` names. Whoever reads the table learns
-- no secret: the master key is not in the database.
CREATE TABLE datalane.data_keys (
    workspace_id uuid NOT NULL,
    master_key_id text NOT NULL CONSTRAINT a_master_key_has_a_short_name CHECK (char_length(master_key_id) <= 32),
    wrapped bytea NOT NULL CONSTRAINT a_wrapped_key_is_short CHECK (octet_length(wrapped) <= 200),
    created_at timestamptz NOT NULL,
    wrapped_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id)
);
SELECT app.protect('datalane.data_keys', 'managed', operator_columns => '{workspace_id,master_key_id,created_at,wrapped_at}');
