-- Secrets do not reach stored records: the same names as in the service's own redaction.

-- Whether a field of this name holds a secret: `password`, `api_key`, `webhook_secret`; not `token_count`.
CREATE OR REPLACE FUNCTION datalane.is_secret_name(name text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN name ~* 'password|passwd|secret|token|authorization|cookie|api[_-]?key|credential|private[_-]?key|dsn|signature'
        AND name !~* '(_ids?|_count|_at|_verified|idempotency_key|(input|output|cached|total|max|prompt)_tokens)$';

-- `value` with the values of such fields masked at any depth; what is nested deeper than 12 is masked whole.
CREATE OR REPLACE FUNCTION datalane.mask_secrets(value jsonb, depth integer DEFAULT 0)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
BEGIN
    IF jsonb_typeof(value) NOT IN ('object', 'array') THEN
        RETURN value;
    ELSIF depth >= 12 THEN
        RETURN '"[redacted]"';
    ELSIF jsonb_typeof(value) = 'array' THEN
        RETURN (SELECT coalesce(jsonb_agg(datalane.mask_secrets(item, depth + 1) ORDER BY place), '[]')
                FROM jsonb_array_elements(value) WITH ORDINALITY AS element (item, place));
    END IF;
    RETURN (SELECT coalesce(jsonb_object_agg(name, CASE
                WHEN item <> 'null' AND datalane.is_secret_name(name) THEN '"[redacted]"'
                ELSE datalane.mask_secrets(item, depth + 1) END), '{}')
            FROM jsonb_each(value) AS field (name, item));
END $$;

-- `value` as text to store. Most values have no secret in them, so a look at the whole text comes first; it is never
-- let off by one of the harmless endings, as JSON text ends in a bracket or a quote.
CREATE OR REPLACE FUNCTION datalane.redacted_text(value jsonb)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    written constant text := value::text;
BEGIN
    RETURN CASE WHEN datalane.is_secret_name(written) THEN datalane.mask_secrets(value)::text ELSE written END;
END $$;
