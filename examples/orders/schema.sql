-- The example's own table, behind the same wall as the lane's. Run it once, as the owner role.
CREATE SCHEMA IF NOT EXISTS shop;
GRANT USAGE ON SCHEMA shop TO datalane_app, datalane_definer, datalane_backup;

CREATE TABLE shop.orders (
    workspace_id uuid NOT NULL,
    order_id uuid NOT NULL,
    total_cents integer NOT NULL CONSTRAINT total_is_positive CHECK (total_cents > 0),
    status text NOT NULL DEFAULT 'placed' CONSTRAINT status_is_known CHECK (status IN ('placed', 'reserved')),
    PRIMARY KEY (workspace_id, order_id)
);
SELECT app.protect('shop.orders', 'tenant');
