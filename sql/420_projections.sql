-- Principal components: features in few numbers.

-- The principal components of vectors that follow one another.
CREATE OR REPLACE FUNCTION pix_internal.project_vectors(
    vectors bytea, items bigint, dimensions integer[], mean bytea, axes bytea
) RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 100000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'projections.project_vectors', vectors, items, dimensions, mean, axes)$$;

CREATE OR REPLACE FUNCTION pix.fit_pca(model_name text DEFAULT NULL, components bigint DEFAULT 50)
RETURNS pix.projection_summary
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result pix.projection_summary;
BEGIN
    PERFORM pix_internal.check_call('pix.fit_pca');
    PERFORM pix_internal.drive('projections.fit_pca', jsonb_build_object('model_name', model_name, 'components', components));
    SELECT p.model_name, p.components, p.mean, p.axes, p.explained_variance, p.explained_variance_ratio, p.items, p.fitted_at
    INTO result FROM pix_internal.projections p WHERE p.model_name = (pix.find_model(fit_pca.model_name)).model_name;
    RETURN result;
END
$$;
COMMENT ON FUNCTION pix.fit_pca IS
'Finds the principal components of a model''s features, by scikit-learn, on 10,000 items at random where there are more. Maps
of everything and indexes by Euclidean distance use them, if they have as many as these need; and pix.principal_components.
Arguments: model_name (NULL: the default model); components, how many.
Result: model_name, components, mean and axes as feature vectors (pix.to_array reads them), explained_variance and
explained_variance_ratio, an element for each component, items that it was fitted on, fitted_at. pix.projections lists them.
Errors: PX003 invalid argument, PX020 unknown model, PX030 incomparable vectors, PX060 call on segments, PX061
read-only, PX095 no features, PX112 features all the same.
Runs: coordinator.
Example: SELECT components, explained_variance_ratio[1] FROM pix.fit_pca(''mini_inception'', 20);';

CREATE OR REPLACE VIEW pix.projections AS
SELECT p.model_name, p.components, p.explained_variance, p.explained_variance_ratio, p.items,
    p.model_checksum IS NOT DISTINCT FROM m.checksum AS usable, p.fitted_at
FROM pix_internal.projections p JOIN pix.models m ON m.model_name = p.model_name;
COMMENT ON VIEW pix.projections IS 'Principal components that pix.fit_pca has found, of which models, and how much they explain.';

CREATE OR REPLACE FUNCTION pix.principal_components(vector pix.feature_vector, model_name text DEFAULT NULL)
RETURNS real[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models := pix.find_model(model_name);
    found_projection pix_internal.projections;
BEGIN
    SELECT p.* INTO found_projection FROM pix_internal.projections p
    WHERE p.model_name = model.model_name AND p.model_checksum IS NOT DISTINCT FROM model.checksum;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX106',
            MESSAGE = format('Model %L, as it is now, has no principal components', model.model_name),
            HINT = format('SELECT * FROM pix.fit_pca(%L);', model.model_name);
    END IF;
    IF vector IS NOT NULL THEN
        PERFORM pix_internal.check_dimensions(octet_length(vector), model);
    END IF;
    RETURN CASE WHEN vector IS NOT NULL THEN
        pix.to_array(pix_internal.project_vectors(vector, 1, NULL, found_projection.mean, found_projection.axes))
    END;
END
$$;
COMMENT ON FUNCTION pix.principal_components IS
'The principal components of a feature vector.
Arguments: vector; model_name (NULL: the default model), for which pix.fit_pca was called.
Result: as many numbers as pix.fit_pca was asked for; NULL for NULL.
Errors: PX020 unknown model, PX030 a vector of other dimensions, PX106 a model without principal components.
Runs: either.
Example: SELECT item_id, pix.principal_components(vector) FROM pix.features WHERE model_name = ''mini_inception'' LIMIT 3;';
