CREATE TABLE public.label_chunks (
    volume_id bigint NOT NULL,
    level bigint NOT NULL,
    z bigint NOT NULL,
    y bigint NOT NULL,
    x bigint NOT NULL,
    operation_id bigint NOT NULL,
    pack text,
    start bigint,
    length bigint
);
CREATE TABLE public.label_edges (
    volume_id bigint NOT NULL,
    operation_id bigint NOT NULL,
    a bigint NOT NULL,
    b bigint NOT NULL,
    added boolean NOT NULL
);
CREATE TABLE public.label_operations (
    volume_id bigint NOT NULL,
    operation_id bigint NOT NULL,
    kind text NOT NULL,
    user_name text NOT NULL,
    "time" text NOT NULL,
    request_id text,
    request_digest text,
    base_version bigint,
    wrote_voxels boolean NOT NULL,
    undoes bigint,
    undone_by bigint,
    bbox json,
    lineage json NOT NULL,
    provenance json NOT NULL
);
CREATE TABLE public.label_roots (
    volume_id bigint NOT NULL,
    root bigint NOT NULL,
    operation_id bigint NOT NULL
);
CREATE TABLE public.label_supervoxels (
    volume_id bigint NOT NULL,
    supervoxel bigint NOT NULL,
    operation_id bigint NOT NULL,
    voxels bigint NOT NULL,
    z0 bigint NOT NULL,
    y0 bigint NOT NULL,
    x0 bigint NOT NULL,
    z1 bigint NOT NULL,
    y1 bigint NOT NULL,
    x1 bigint NOT NULL,
    sum_z bigint NOT NULL,
    sum_y bigint NOT NULL,
    sum_x bigint NOT NULL
);
CREATE TABLE public.label_volumes (
    volume_id integer NOT NULL,
    name text NOT NULL,
    shapes json NOT NULL,
    head bigint NOT NULL,
    next_id bigint NOT NULL
);
CREATE SEQUENCE public.label_volumes_volume_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.label_volumes_volume_id_seq OWNED BY public.label_volumes.volume_id;
CREATE TABLE public.volumes (
    name text NOT NULL,
    source text NOT NULL,
    image text NOT NULL,
    dataset text,
    voxel_size text,
    about text NOT NULL,
    created text NOT NULL
);
CREATE TABLE public.web_dispatchers (
    name text NOT NULL,
    seen double precision NOT NULL
);
CREATE TABLE public.web_instance (
    name text NOT NULL
);
CREATE TABLE public.web_jobs (
    job_id text NOT NULL,
    volume text NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    progress double precision NOT NULL,
    message text NOT NULL,
    plan text NOT NULL,
    "user" text NOT NULL,
    created text NOT NULL,
    updated text NOT NULL,
    attempts integer NOT NULL,
    cancel_requested boolean NOT NULL,
    operation_id integer,
    error text,
    request_id text,
    dispatcher text
);
CREATE TABLE public.web_sessions (
    token text NOT NULL,
    volume text NOT NULL,
    "user" text NOT NULL,
    pinned_version integer,
    share_id text,
    view_state text NOT NULL,
    generation text NOT NULL,
    created text NOT NULL
);
CREATE TABLE public.web_shares (
    share_id text NOT NULL,
    volume text NOT NULL,
    version integer NOT NULL,
    view_state text NOT NULL,
    "user" text NOT NULL,
    created text NOT NULL
);
ALTER TABLE ONLY public.label_volumes ALTER COLUMN volume_id SET DEFAULT nextval('public.label_volumes_volume_id_seq'::regclass);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 1, '64baa6dcb53f2a1fd9bef5d2', 8, 6572);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 1, '64baa6dcb53f2a1fd9bef5d2', 6580, 1000);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 1, '64baa6dcb53f2a1fd9bef5d2', 7580, 1109);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 3, '5fe8c88cd87d520f537309c0', 8, 7472);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 3, '5fe8c88cd87d520f537309c0', 7480, 1000);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 3, '5fe8c88cd87d520f537309c0', 8480, 1294);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 4, '64baa6dcb53f2a1fd9bef5d2', 6580, 1000);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 4, '64baa6dcb53f2a1fd9bef5d2', 7580, 1109);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 4, '64baa6dcb53f2a1fd9bef5d2', 8, 6572);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 5, '5fe8c88cd87d520f537309c0', 7480, 1000);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 5, '5fe8c88cd87d520f537309c0', 8480, 1294);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 5, '5fe8c88cd87d520f537309c0', 8, 7472);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 8, '64baa6dcb53f2a1fd9bef5d2', 6580, 1000);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 8, '64baa6dcb53f2a1fd9bef5d2', 7580, 1109);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 8, '64baa6dcb53f2a1fd9bef5d2', 8, 6572);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 9, '2e6afe19015c6601fad50892', 8, 13744);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 9, '2e6afe19015c6601fad50892', 13752, 1975);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 1, 0, 9, '2e6afe19015c6601fad50892', 15727, 1410);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 1, 1, 9, '2e6afe19015c6601fad50892', 17137, 690);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 9, '2e6afe19015c6601fad50892', 17827, 2711);
INSERT INTO public.label_chunks VALUES (2, 0, 0, 0, 0, 1, '220a5ad41c7f75e5ac64f903', 8, 6572);
INSERT INTO public.label_chunks VALUES (2, 0, 0, 0, 1, 1, '220a5ad41c7f75e5ac64f903', 6580, 1000);
INSERT INTO public.label_chunks VALUES (2, 1, 0, 0, 0, 1, '220a5ad41c7f75e5ac64f903', 7580, 1109);
INSERT INTO public.label_edges VALUES (1, 2, 1, 2, true);
INSERT INTO public.label_edges VALUES (1, 6, 1, 2, false);
INSERT INTO public.label_edges VALUES (1, 7, 1, 3, true);
INSERT INTO public.label_edges VALUES (1, 8, 1, 2, true);
INSERT INTO public.label_edges VALUES (1, 8, 1, 3, false);
INSERT INTO public.label_edges VALUES (1, 10, 1, 3, true);
INSERT INTO public.label_operations VALUES (1, 1, 'segment', 'ana', '2026-11-22T22:05:07.104+00:00', 'ana-cell', '736b4ffdef30ee64060aa9867866f676', NULL, true, NULL, NULL, '{"offset": [0, 0, 0], "shape": [20, 80, 96]}', '{"removed": [], "added": [1, 2, 3], "merges": [], "splits": [], "moved": []}', '{"model": "\u00b5-net"}');
INSERT INTO public.label_operations VALUES (1, 5, 'redo', 'ana', '2026-11-22T22:05:07.330+00:00', NULL, 'd619962ecb175dd96d213834e83a7655', NULL, true, 4, NULL, '{"offset": [4, 40, 8], "shape": [12, 12, 82]}', '{"removed": [3], "added": [3, 4], "merges": [], "splits": [[3, [3, 4]]], "moved": [[3, 4]]}', '{}');
INSERT INTO public.label_operations VALUES (1, 4, 'undo', 'ana', '2026-11-22T22:05:07.276+00:00', NULL, 'a6101c7ebfbe205c85285c8759ed78f5', NULL, true, 3, 5, '{"offset": [4, 40, 8], "shape": [12, 12, 82]}', '{"removed": [3, 4], "added": [3], "merges": [[3, 4]], "splits": [], "moved": [[4, 3]]}', '{}');
INSERT INTO public.label_operations VALUES (1, 3, 'split', 'ana', '2026-11-22T22:05:07.218+00:00', NULL, '19f75a7406c6cb75707e2243c1005ea1', NULL, true, NULL, NULL, '{"offset": [4, 40, 8], "shape": [12, 12, 82]}', '{"removed": [3], "added": [3, 4], "merges": [], "splits": [[3, [3, 4]]], "moved": [[3, 4]]}', '{}');
INSERT INTO public.label_operations VALUES (1, 6, 'undo', 'bob', '2026-11-22T22:05:07.365+00:00', NULL, 'a6101c7ebfbe205c85285c8759ed78f5', NULL, false, 2, NULL, '{"offset": [4, 8, 8], "shape": [12, 12, 52]}', '{"removed": [1], "added": [1, 2], "merges": [], "splits": [[1, [1, 2]]], "moved": []}', '{}');
INSERT INTO public.label_operations VALUES (1, 2, 'merge', 'bob', '2026-11-22T22:05:07.147+00:00', 'r-merge', 'f8434e526d3f55e8b3194f4cca3e9fe4', NULL, false, NULL, 6, '{"offset": [4, 8, 8], "shape": [12, 12, 52]}', '{"removed": [1, 2], "added": [1], "merges": [[1, 2]], "splits": [], "moved": []}', '{}');
INSERT INTO public.label_operations VALUES (1, 7, 'merge', 'ana', '2026-11-22T22:05:07.385+00:00', NULL, '9991a0a758a8b0c30643960989fc454b', NULL, false, NULL, NULL, '{"offset": [4, 8, 8], "shape": [12, 44, 41]}', '{"removed": [1, 3], "added": [1], "merges": [[1, 3]], "splits": [], "moved": []}', '{}');
INSERT INTO public.label_operations VALUES (1, 8, 'revert', 'cy', '2026-11-22T22:05:07.418+00:00', NULL, 'a097d1c90304c571c870e04ace594234', NULL, true, NULL, NULL, '{"offset": [4, 8, 8], "shape": [12, 44, 82]}', '{"removed": [1, 2, 4], "added": [1, 3], "merges": [[1, 2], [1, 4]], "splits": [[1, [1, 3]]], "moved": [[3, 4], [4, 3]]}', '{"why": "look"}');
INSERT INTO public.label_operations VALUES (1, 9, 'segment', 'dee', '2026-11-22T22:05:07.521+00:00', 'dee-cell', '736b4ffdef30ee64060aa9867866f676', NULL, true, NULL, NULL, '{"offset": [0, 0, 0], "shape": [20, 80, 96]}', '{"removed": [], "added": [5, 6, 7], "merges": [], "splits": [], "moved": []}', '{"model": "\u00b5-net"}');
INSERT INTO public.label_operations VALUES (1, 10, 'merge', 'bob', '2026-11-22T22:05:07.561+00:00', NULL, 'fbf5e79b9cca5fbcbb2ee1bb8d87f08b', NULL, false, NULL, NULL, '{"offset": [4, 8, 8], "shape": [12, 44, 82]}', '{"removed": [1, 3], "added": [1], "merges": [[1, 3]], "splits": [], "moved": []}', '{}');
INSERT INTO public.label_operations VALUES (2, 1, 'segment', 'ana', '2026-11-22T22:05:07.663+00:00', 'ana-second', '736b4ffdef30ee64060aa9867866f676', NULL, true, NULL, NULL, '{"offset": [0, 0, 0], "shape": [20, 80, 96]}', '{"removed": [], "added": [1, 2, 3], "merges": [], "splits": [], "moved": []}', '{"model": "\u00b5-net"}');
INSERT INTO public.label_roots VALUES (1, 1, 1);
INSERT INTO public.label_roots VALUES (1, 2, 1);
INSERT INTO public.label_roots VALUES (1, 3, 1);
INSERT INTO public.label_roots VALUES (1, 1, 2);
INSERT INTO public.label_roots VALUES (1, 2, 2);
INSERT INTO public.label_roots VALUES (1, 3, 3);
INSERT INTO public.label_roots VALUES (1, 4, 3);
INSERT INTO public.label_roots VALUES (1, 3, 4);
INSERT INTO public.label_roots VALUES (1, 4, 4);
INSERT INTO public.label_roots VALUES (1, 3, 5);
INSERT INTO public.label_roots VALUES (1, 4, 5);
INSERT INTO public.label_roots VALUES (1, 1, 6);
INSERT INTO public.label_roots VALUES (1, 2, 6);
INSERT INTO public.label_roots VALUES (1, 1, 7);
INSERT INTO public.label_roots VALUES (1, 3, 7);
INSERT INTO public.label_roots VALUES (1, 1, 8);
INSERT INTO public.label_roots VALUES (1, 2, 8);
INSERT INTO public.label_roots VALUES (1, 3, 8);
INSERT INTO public.label_roots VALUES (1, 4, 8);
INSERT INTO public.label_roots VALUES (1, 5, 9);
INSERT INTO public.label_roots VALUES (1, 6, 9);
INSERT INTO public.label_roots VALUES (1, 7, 9);
INSERT INTO public.label_roots VALUES (1, 1, 10);
INSERT INTO public.label_roots VALUES (1, 3, 10);
INSERT INTO public.label_roots VALUES (2, 1, 1);
INSERT INTO public.label_roots VALUES (2, 2, 1);
INSERT INTO public.label_roots VALUES (2, 3, 1);
INSERT INTO public.label_supervoxels VALUES (1, 1, 1, 3168, 4, 8, 8, 16, 20, 30, 30096, 42768, 58608);
INSERT INTO public.label_supervoxels VALUES (1, 2, 1, 2880, 4, 8, 40, 16, 20, 60, 27360, 38880, 142560);
INSERT INTO public.label_supervoxels VALUES (1, 3, 1, 11808, 4, 40, 8, 16, 52, 90, 112176, 537264, 572688);
INSERT INTO public.label_supervoxels VALUES (1, 3, 3, 5904, 4, 40, 8, 16, 52, 49, 56088, 268632, 165312);
INSERT INTO public.label_supervoxels VALUES (1, 4, 3, 5904, 4, 40, 49, 16, 52, 90, 56088, 268632, 407376);
INSERT INTO public.label_supervoxels VALUES (1, 3, 4, 11808, 4, 40, 8, 16, 52, 90, 112176, 537264, 572688);
INSERT INTO public.label_supervoxels VALUES (1, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.label_supervoxels VALUES (1, 3, 5, 5904, 4, 40, 8, 16, 52, 49, 56088, 268632, 165312);
INSERT INTO public.label_supervoxels VALUES (1, 4, 5, 5904, 4, 40, 49, 16, 52, 90, 56088, 268632, 407376);
INSERT INTO public.label_supervoxels VALUES (1, 3, 8, 11808, 4, 40, 8, 16, 52, 90, 112176, 537264, 572688);
INSERT INTO public.label_supervoxels VALUES (1, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.label_supervoxels VALUES (1, 5, 9, 3168, 4, 28, 8, 16, 40, 30, 30096, 106128, 58608);
INSERT INTO public.label_supervoxels VALUES (1, 6, 9, 2880, 4, 28, 40, 16, 40, 60, 27360, 96480, 142560);
INSERT INTO public.label_supervoxels VALUES (1, 7, 9, 11808, 4, 60, 8, 16, 72, 90, 112176, 773424, 572688);
INSERT INTO public.label_supervoxels VALUES (2, 1, 1, 3168, 4, 8, 8, 16, 20, 30, 30096, 42768, 58608);
INSERT INTO public.label_supervoxels VALUES (2, 2, 1, 2880, 4, 8, 40, 16, 20, 60, 27360, 38880, 142560);
INSERT INTO public.label_supervoxels VALUES (2, 3, 1, 11808, 4, 40, 8, 16, 52, 90, 112176, 537264, 572688);
INSERT INTO public.label_volumes VALUES (1, 'cell', '[[20, 80, 96], [10, 40, 48]]', 10, 8);
INSERT INTO public.label_volumes VALUES (2, 'second', '[[20, 80, 96], [10, 40, 48]]', 1, 4);
INSERT INTO public.volumes VALUES ('cell', '/data-of-the-release/cell.npz', '/data-of-the-release/data/images/cell.zarr', NULL, '[8.0, 8.0, 8.0]', '{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}', '2026-11-22T22:05:06.679081+00:00');
INSERT INTO public.volumes VALUES ('second', '/data-of-the-release/cell.npz', '/data-of-the-release/data/images/second.zarr', NULL, '[8.0, 8.0, 8.0]', '{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}', '2026-11-22T22:05:06.776998+00:00');
INSERT INTO public.web_instance VALUES ('10c5aec9');
INSERT INTO public.web_jobs VALUES ('93d20459506d443e877ba44eab9081e7', 'cell', 'segment', 'queued', 0, 'Waiting for a worker', '{"volume": "cell"}', 'ana', '2026-11-22T22:05:07.693422+00:00', '2026-11-22T22:05:07.693422+00:00', 0, false, NULL, NULL, 'job-1', NULL);
INSERT INTO public.web_sessions VALUES ('c28b04a8c0bd6dc6e1abb501b1cace26', 'cell', 'bob', 2, NULL, '{"layers": []}', 'server/84ebd7513b4b', '2026-11-22T22:05:07.685690+00:00');
INSERT INTO public.web_shares VALUES ('a7c66cxras', 'cell', 3, '{"layers": []}', 'ana', '2026-11-22T22:05:07.677673+00:00');
SELECT pg_catalog.setval('public.label_volumes_volume_id_seq', 2, true);
ALTER TABLE ONLY public.label_chunks
    ADD CONSTRAINT label_chunks_pkey PRIMARY KEY (volume_id, level, z, y, x, operation_id);
ALTER TABLE ONLY public.label_edges
    ADD CONSTRAINT label_edges_pkey PRIMARY KEY (volume_id, operation_id, a, b);
ALTER TABLE ONLY public.label_operations
    ADD CONSTRAINT label_operations_pkey PRIMARY KEY (volume_id, operation_id);
ALTER TABLE ONLY public.label_operations
    ADD CONSTRAINT label_operations_volume_id_request_id_key UNIQUE (volume_id, request_id);
ALTER TABLE ONLY public.label_roots
    ADD CONSTRAINT label_roots_pkey PRIMARY KEY (volume_id, root, operation_id);
ALTER TABLE ONLY public.label_supervoxels
    ADD CONSTRAINT label_supervoxels_pkey PRIMARY KEY (volume_id, supervoxel, operation_id);
ALTER TABLE ONLY public.label_volumes
    ADD CONSTRAINT label_volumes_name_key UNIQUE (name);
ALTER TABLE ONLY public.label_volumes
    ADD CONSTRAINT label_volumes_pkey PRIMARY KEY (volume_id);
ALTER TABLE ONLY public.volumes
    ADD CONSTRAINT volumes_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.web_dispatchers
    ADD CONSTRAINT web_dispatchers_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.web_instance
    ADD CONSTRAINT web_instance_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.web_jobs
    ADD CONSTRAINT web_jobs_pkey PRIMARY KEY (job_id);
ALTER TABLE ONLY public.web_jobs
    ADD CONSTRAINT web_jobs_volume_request_id_key UNIQUE (volume, request_id);
ALTER TABLE ONLY public.web_sessions
    ADD CONSTRAINT web_sessions_pkey PRIMARY KEY (token);
ALTER TABLE ONLY public.web_shares
    ADD CONSTRAINT web_shares_pkey PRIMARY KEY (share_id);
CREATE INDEX ix_web_jobs_state ON public.web_jobs USING btree (state);
CREATE INDEX label_chunks_by_operation ON public.label_chunks USING btree (volume_id, operation_id);
CREATE INDEX label_edges_by_a ON public.label_edges USING btree (volume_id, a, b);
CREATE INDEX label_edges_by_b ON public.label_edges USING btree (volume_id, b);
CREATE INDEX label_operations_by_user ON public.label_operations USING btree (volume_id, user_name, operation_id);
CREATE INDEX label_supervoxels_by_box ON public.label_supervoxels USING btree (volume_id, z1, z0, y0, y1, x0, x1);
CREATE INDEX label_supervoxels_by_operation ON public.label_supervoxels USING btree (volume_id, operation_id);
