-- Tables of an application, one as it should be and three as they should not.

CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO datalane_login, datalane_app, datalane_worker;

CREATE TABLE shop.orders (
    workspace_id uuid NOT NULL,
    order_id uuid NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('open', 'paid')),
    PRIMARY KEY (workspace_id, order_id)
);
SELECT app.protect('shop.orders', 'tenant');

-- Everybody reads every workspace's rows.
CREATE TABLE shop.leaky (LIKE shop.orders INCLUDING ALL);
SELECT app.protect('shop.leaky', 'tenant');
ALTER POLICY app_select ON shop.leaky USING (true);

-- Nobody said what it is.
CREATE TABLE shop.unclassed (LIKE shop.orders INCLUDING ALL);
ALTER TABLE shop.unclassed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- Members cannot add to it.
CREATE TABLE shop.forgotten (LIKE shop.orders INCLUDING ALL);
SELECT app.protect('shop.forgotten', 'tenant');
DROP POLICY app_insert ON shop.forgotten;
