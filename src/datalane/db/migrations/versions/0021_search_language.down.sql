DROP FUNCTION datalane.set_search_language;
