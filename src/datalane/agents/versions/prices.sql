-- name: has_model(workspace_id, model_version_id)$
-- Whether the workspace has the model.
SELECT EXISTS (SELECT FROM datalane.agent_models WHERE workspace_id = :workspace_id AND model_version_id = :model_version_id);

-- name: add_price(workspace_id, price_version_id, model_version_id, currency, input_per_million, cached_input_per_million, output_per_million, reasoning_per_million, effective_at, now, actor_id)!
-- A price, unless another one of the model begins at the same time.
INSERT INTO datalane.agent_prices (workspace_id, price_version_id, model_version_id, currency, input_per_million, cached_input_per_million,
                                   output_per_million, reasoning_per_million, effective_at, created_at, created_by_actor_id)
VALUES (:workspace_id, :price_version_id, :model_version_id, :currency, :input_per_million, :cached_input_per_million,
        :output_per_million, :reasoning_per_million, :effective_at, :now, :actor_id)
ON CONFLICT ON CONSTRAINT one_price_begins_at_a_time DO NOTHING;

-- name: get_price(workspace_id, price_version_id)^
-- One price.
SELECT price_version_id, model_version_id, currency, input_per_million, cached_input_per_million, output_per_million,
       reasoning_per_million, effective_at, created_at, created_by_actor_id
FROM datalane.agent_prices WHERE workspace_id = :workspace_id AND price_version_id = :price_version_id;

-- name: list_prices(workspace_id, model_version_id, before, page_size)
-- Prices, the last said first.
SELECT price_version_id, model_version_id, currency, input_per_million, cached_input_per_million, output_per_million,
       reasoning_per_million, effective_at, created_at, created_by_actor_id
FROM datalane.agent_prices
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR price_version_id < :before)
  AND (:model_version_id::uuid IS NULL OR model_version_id = :model_version_id)
ORDER BY price_version_id DESC LIMIT :page_size;
