DROP FUNCTION datalane.hold_search_language;
DROP FUNCTION datalane.set_search_language;
