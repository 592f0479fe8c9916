-- Metadata as features: models whose vectors are those of another model, with metadata appended.

-- What can be encoded of an item, as JSON; lists however nested are made flat.
CREATE OR REPLACE FUNCTION pix_internal.item_metadata(item_id text, item pix.items) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 1000 SET search_path = pg_catalog, pg_temp AS $$
SELECT jsonb_build_object(
    'item_id', item_id, 'price', item.price, 'brand', item.brand, 'title', item.title,
    'categories', jsonb_path_query_array(item.categories, 'strict $.** ? (@.type() == "string")'),
    'related', jsonb_path_query_array(item.related, 'strict $.** ? (@.type() == "string")')
)::text
$$;

CREATE OR REPLACE FUNCTION pix.fit_metadata(
    model_name text, base_model text DEFAULT NULL, fields text[] DEFAULT '{price,brand,categories,related,title}',
    weight double precision DEFAULT 1, terms bigint DEFAULT 256
) RETURNS pix.metadata_models
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.fit_metadata');
    PERFORM pix_internal.check_name('model_name', model_name);
    PERFORM pix_internal.check_list('fields', fields);
    PERFORM pix_internal.drive('metadata_features.fit_metadata', jsonb_build_object(
        'model_name', model_name, 'base_model', base_model, 'fields', fields, 'weight', weight, 'terms', terms));
    RETURN (SELECT d FROM pix.metadata_models d WHERE d.model_name = fit_metadata.model_name);
END
$$;
COMMENT ON FUNCTION pix.fit_metadata IS
'Makes a model whose vectors are those of another with metadata appended; whatever takes a model takes it. Called again, it
learns again how metadata are encoded, from 50,000 items at random where there are more; what was made of the earlier vectors,
clusterings, indexes, classifiers, is out of date then, unless the vectors are the same. Price: its logarithm, standardized,
and whether it is missing. Brand, categories, related items (and the item itself, so that items which name each other overlap)
and words of the title: TF-IDF, of length 1 for each field; 0 where an item has none.
Arguments: model_name, of the new model; base_model (NULL: the default model); fields, of price, brand, categories, related,
title; weight, of all metadata: 1 makes them as long as the base model''s vectors are (root mean square); terms, how many
values of each field have a number, the most frequent, and those of one item only never.
Result: the row of pix.metadata_models: dimensions, how many numbers were appended; items, that have vectors; fitted_state,
what each number stands for, and which fields have none because no item has them.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX030 incomparable vectors, PX060 call
on segments, PX061 read-only, PX095 no features, PX152 a name that is taken, PX153 no metadata.
Runs: coordinator; vectors are made on the segments.
Example: SELECT dimensions, items FROM pix.fit_metadata(''with_brand'', ''mini_inception'', ARRAY[''brand'', ''price'']);';

CREATE OR REPLACE FUNCTION pix.refresh_metadata(model_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.refresh_metadata');
    RETURN pix_internal.drive('metadata_features.refresh_metadata', jsonb_build_object('model_name', model_name));
END
$$;
COMMENT ON FUNCTION pix.refresh_metadata IS
'Brings the vectors of a model that pix.fit_metadata made up to date: makes those of items that are new, or whose features or
metadata were loaded since, encoded as before; items that have no features any more leave it.
Arguments: model_name.
Result: how many vectors were made.
Errors: PX020 unknown model, or base model, PX024 unusable cache folder, PX030 incomparable vectors, PX060 call on
segments, PX061 read-only, PX152 a model without metadata, PX154 a base model that was imported again.
Runs: coordinator; vectors are made on the segments.
Example: SELECT pix.refresh_metadata(''with_brand'');';
