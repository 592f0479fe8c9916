-- What a model sees: its layers, and the maps of a layer for an image.

-- The layers of a model whose file is on this host.
CREATE OR REPLACE FUNCTION pix_internal.list_layers(checksum text) RETURNS pix.layer[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'layers.list_layers', checksum)$$;

-- pix.model_layers as an array.
CREATE OR REPLACE FUNCTION pix_internal.model_layers(model_name text) RETURNS pix.layer[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    checksum text := pix_internal.model_checksum(model_name);
BEGIN
    PERFORM pix_internal.ensure_model(checksum);
    RETURN pix_internal.list_layers(checksum);
END
$$;

CREATE OR REPLACE FUNCTION pix.model_layers(model_name text DEFAULT NULL) RETURNS SETOF pix.layer
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100 AS $$
SELECT n.layer, n.operation, n.shape FROM pix_internal.unnest(pix_internal.model_layers(model_name)) n
$$;
COMMENT ON FUNCTION pix.model_layers IS
'Lists what a model computes, in the order in which it does. Each of these layers can be imported as features (pix model import
with --output); those with maps can be looked at with pix.feature_maps.
Arguments: model_name (NULL: the default model).
Result: layer, operation (of ONNX), shape for one image: {1, channels, height, width} for maps.
Errors: PX020 unknown model, PX022 a model that cannot run.
Runs: coordinator.
Example: SELECT * FROM pix.model_layers(''mini_inception'') WHERE operation = ''Concat'';';

-- The strongest maps of a layer.
CREATE OR REPLACE FUNCTION pix_internal.draw_maps(content bytea, checksum text, layer text, k bigint)
RETURNS pix.channel_map[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'layers.draw_maps', content, checksum, layer, k)$$;

-- pix.feature_maps as an array.
CREATE OR REPLACE FUNCTION pix_internal.feature_maps(content bytea, model_name text, layer text, k bigint)
RETURNS pix.channel_map[]
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    checksum text := pix_internal.model_checksum(model_name);
BEGIN
    IF content IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX010', MESSAGE = 'The image is NULL', HINT = 'Pass the bytes of an image file.';
    END IF;
    PERFORM pix_internal.check_range('k', k, 1);
    PERFORM pix_internal.ensure_model(checksum);
    RETURN pix_internal.draw_maps(content, checksum, coalesce(layer, ''), k);
END
$$;

CREATE OR REPLACE FUNCTION pix.feature_maps(content bytea, model_name text, layer text, k bigint DEFAULT 8)
RETURNS SETOF pix.channel_map
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 8 AS $$
SELECT n.rank, n.channel, n.strength, n.image FROM pix_internal.unnest(pix_internal.feature_maps(content, model_name, layer, k)) n
$$;
COMMENT ON FUNCTION pix.feature_maps IS
'Shows what a model sees: where in an image the channels of a layer are active.
Arguments: content, the bytes of an image file; model_name (NULL: the default model); layer, one of pix.model_layers with maps
(four axes); k, how many channels: those with the largest mean activation.
Result: rank (from 1), channel (from 0), strength: the mean activation, image: a PNG in gray, the brighter the more active.
Errors: PX003 invalid argument, PX010 not an image, PX011 one that takes too much to decode, PX020 unknown model, PX022
a model that cannot run, PX029 unknown layer, or one without maps.
Runs: coordinator.
Example: SELECT m.rank, m.channel, m.strength, octet_length(m.image) FROM pix.feature_maps((SELECT content FROM pix.images LIMIT 1), ''mini_inception'', (SELECT max(layer) FROM pix.model_layers(''mini_inception'') WHERE operation = ''Concat''), k => 3) m;';
