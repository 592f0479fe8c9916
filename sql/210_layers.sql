-- What a network sees: its layers, and the maps of a layer for a picture.

CREATE OR REPLACE FUNCTION pix._list_layers(checksum text) RETURNS pix.layer[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'layers.list_layers', checksum)
$$;
COMMENT ON FUNCTION pix._list_layers(text) IS
'Internal: the layers of a network whose file is on this host. Errors: PX021, PX022. Runs: either.';
REVOKE ALL ON FUNCTION pix._list_layers(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._list_layers(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._model_layers(model_name text) RETURNS pix.layer[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    checksum text := pix._network_of(model_name);
BEGIN
    PERFORM pix._ensure_model(checksum);
    RETURN pix._list_layers(checksum);
END
$$;
COMMENT ON FUNCTION pix._model_layers(text) IS
'Internal: pix.model_layers as an array. Errors: those of pix.model_layers. Runs: either.';
REVOKE ALL ON FUNCTION pix._model_layers(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._model_layers(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.model_layers(model_name text DEFAULT NULL) RETURNS SETOF pix.layer
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100
AS $$
SELECT n.layer, n.operation, n.shape FROM pix._unnest(pix._model_layers(model_name)) n
$$;
COMMENT ON FUNCTION pix.model_layers(text) IS
'Lists what a network computes, in the order in which it does. Each of these layers can be imported as features (pix model
import with --output); those with maps can be looked at with pix.feature_maps.
Arguments: model_name (NULL: the default model).
Result: layer, operation (of ONNX), shape for one picture: {1, channels, height, width} for maps.
Errors: PX020 unknown model, PX022 a model that cannot run.
Runs: coordinator.
Example: SELECT * FROM pix.model_layers(''mini_inception'') WHERE operation = ''Concat'';';
REVOKE ALL ON FUNCTION pix.model_layers(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.model_layers(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._draw_maps(content bytea, checksum text, layer text, top integer)
RETURNS pix.feature_map[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'layers.draw_maps', content, checksum, layer, top)
$$;
COMMENT ON FUNCTION pix._draw_maps(bytea, text, text, integer) IS
'Internal: the strongest maps of a layer. Errors: PX010, PX011, PX021, PX022, PX029. Runs: either.';
REVOKE ALL ON FUNCTION pix._draw_maps(bytea, text, text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._draw_maps(bytea, text, text, integer) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._feature_maps(content bytea, model_name text, layer text, top integer)
RETURNS pix.feature_map[]
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    checksum text := pix._network_of(model_name);
BEGIN
    IF content IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX010', MESSAGE = 'The picture is NULL', HINT = 'Pass the bytes of a picture file.';
    END IF;
    IF top IS NULL OR top < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX077', MESSAGE = format('top is %s', coalesce(top::text, 'NULL')),
            HINT = 'Ask for at least one map: top => 8.';
    END IF;
    PERFORM pix._ensure_model(checksum);
    RETURN pix._draw_maps(content, checksum, coalesce(layer, ''), top);
END
$$;
COMMENT ON FUNCTION pix._feature_maps(bytea, text, text, integer) IS
'Internal: pix.feature_maps as an array. Errors: those of pix.feature_maps. Runs: either.';
REVOKE ALL ON FUNCTION pix._feature_maps(bytea, text, text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._feature_maps(bytea, text, text, integer) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.feature_maps(content bytea, model_name text, layer text, top integer DEFAULT 8)
RETURNS SETOF pix.feature_map
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 8
AS $$
SELECT n.rank, n.channel, n.strength, n.picture FROM pix._unnest(pix._feature_maps(content, model_name, layer, top)) n
$$;
COMMENT ON FUNCTION pix.feature_maps(bytea, text, text, integer) IS
'Shows what a network sees: where in a picture the channels of a layer are active.
Arguments: content, the bytes of a picture file; model_name (NULL: the default model); layer, one of pix.model_layers with maps
(four axes); top, how many channels: those with the largest mean activation.
Result: rank (from 1), channel (from 0), strength: the mean activation, picture: a PNG in grey, the brighter the more active.
Errors: PX010 not a picture, PX011 one that takes too much to decode, PX020 unknown model, PX022 a model that cannot run,
PX029 unknown layer, or one without maps, PX077 top below 1.
Runs: coordinator.
Example: SELECT m.rank, m.channel, m.strength, octet_length(m.picture) FROM pix.feature_maps((SELECT content FROM pix.images LIMIT 1), ''mini_inception'', (SELECT max(layer) FROM pix.model_layers(''mini_inception'') WHERE operation = ''Concat''), top => 3) m;';
REVOKE ALL ON FUNCTION pix.feature_maps(bytea, text, text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.feature_maps(bytea, text, text, integer) TO pix_reader;
