CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.label_base_blocks (
    volume_id bigint NOT NULL,
    number bigint NOT NULL,
    z bigint NOT NULL,
    y bigint NOT NULL,
    x bigint NOT NULL
);
CREATE TABLE public.label_base_marks (
    volume_id bigint NOT NULL,
    operation_id bigint NOT NULL,
    counted bigint NOT NULL
);
CREATE TABLE public.label_base_statistics (
    volume_id bigint NOT NULL,
    supervoxel bigint NOT NULL,
    number bigint NOT NULL,
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
CREATE TABLE public.label_bases (
    volume_id bigint NOT NULL,
    identity text NOT NULL,
    block json NOT NULL
);
CREATE TABLE public.label_branch_merges (
    volume_id bigint NOT NULL,
    operation_id bigint NOT NULL,
    source_branch bigint NOT NULL,
    source_version bigint NOT NULL,
    skipped json NOT NULL
);
CREATE TABLE public.label_branches (
    branch_id integer NOT NULL,
    volume_id bigint NOT NULL,
    name text NOT NULL,
    parent_id integer,
    fork_version bigint NOT NULL,
    head bigint NOT NULL,
    user_name text NOT NULL,
    "time" text NOT NULL,
    deleted text
);
CREATE SEQUENCE public.label_branches_branch_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.label_branches_branch_id_seq OWNED BY public.label_branches.branch_id;
CREATE TABLE public.label_chunks (
    branch_id bigint NOT NULL,
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
    branch_id bigint NOT NULL,
    operation_id bigint NOT NULL,
    a bigint NOT NULL,
    b bigint NOT NULL,
    added boolean NOT NULL
);
CREATE TABLE public.label_members (
    branch_id bigint NOT NULL,
    supervoxel bigint NOT NULL,
    operation_id bigint NOT NULL,
    root bigint NOT NULL
);
CREATE TABLE public.label_operations (
    volume_id bigint NOT NULL,
    operation_id bigint NOT NULL,
    branch_id bigint NOT NULL,
    parent bigint NOT NULL,
    kind text NOT NULL,
    user_name text NOT NULL,
    "time" text NOT NULL,
    request_id text,
    request_digest text,
    base_version bigint,
    wrote_voxels boolean NOT NULL,
    undoes bigint,
    bbox json,
    lineage json NOT NULL,
    provenance json NOT NULL
);
CREATE TABLE public.label_roots (
    branch_id bigint NOT NULL,
    root bigint NOT NULL,
    operation_id bigint NOT NULL
);
CREATE TABLE public.label_supervoxels (
    branch_id bigint NOT NULL,
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
CREATE TABLE public.label_tags (
    volume_id bigint NOT NULL,
    name text NOT NULL,
    version bigint NOT NULL,
    user_name text NOT NULL,
    "time" text NOT NULL,
    note text NOT NULL
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
ALTER TABLE ONLY public.label_branches ALTER COLUMN branch_id SET DEFAULT nextval('public.label_branches_branch_id_seq'::regclass);
ALTER TABLE ONLY public.label_volumes ALTER COLUMN volume_id SET DEFAULT nextval('public.label_volumes_volume_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0002');
INSERT INTO public.label_branch_merges VALUES (3, 4, 4, 2, '[]');
INSERT INTO public.label_branches VALUES (1, 1, 'main', NULL, 0, 10, '', '2026-11-23T01:00:11.594+00:00', NULL);
INSERT INTO public.label_branches VALUES (2, 2, 'main', NULL, 0, 1, '', '2026-11-23T01:00:11.865+00:00', NULL);
INSERT INTO public.label_branches VALUES (4, 3, 'review', 3, 1, 5, 'bob', '2026-11-23T01:00:11.917+00:00', NULL);
INSERT INTO public.label_branches VALUES (3, 3, 'main', NULL, 0, 6, '', '2026-11-23T01:00:11.891+00:00', NULL);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 1, '205c124a477dc894e5c60965', 8, 3431);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 1, '205c124a477dc894e5c60965', 3439, 56);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 1, '205c124a477dc894e5c60965', 3495, 655);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 3, '8ea3581dcd9c70290e1be6ad', 8, 4248);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 3, '8ea3581dcd9c70290e1be6ad', 4256, 56);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 3, '8ea3581dcd9c70290e1be6ad', 4312, 828);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 4, '205c124a477dc894e5c60965', 3439, 56);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 4, '205c124a477dc894e5c60965', 3495, 655);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 4, '205c124a477dc894e5c60965', 8, 3431);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 5, '8ea3581dcd9c70290e1be6ad', 4256, 56);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 5, '8ea3581dcd9c70290e1be6ad', 4312, 828);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 5, '8ea3581dcd9c70290e1be6ad', 8, 4248);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 8, '205c124a477dc894e5c60965', 3439, 56);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 8, '205c124a477dc894e5c60965', 3495, 655);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 8, '205c124a477dc894e5c60965', 8, 3431);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 0, 9, 'c0ad89c4bdda5d534667fd41', 8, 2325);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 0, 1, 9, 'c0ad89c4bdda5d534667fd41', 2333, 193);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 1, 0, 9, 'c0ad89c4bdda5d534667fd41', 2526, 56);
INSERT INTO public.label_chunks VALUES (1, 0, 0, 1, 1, 9, 'c0ad89c4bdda5d534667fd41', 2582, 56);
INSERT INTO public.label_chunks VALUES (1, 1, 0, 0, 0, 9, 'c0ad89c4bdda5d534667fd41', 2638, 678);
INSERT INTO public.label_chunks VALUES (2, 0, 0, 0, 0, 1, '83ad7408a5d9b4bfdd4de6a1', 8, 3431);
INSERT INTO public.label_chunks VALUES (2, 0, 0, 0, 1, 1, '83ad7408a5d9b4bfdd4de6a1', 3439, 56);
INSERT INTO public.label_chunks VALUES (2, 1, 0, 0, 0, 1, '83ad7408a5d9b4bfdd4de6a1', 3495, 655);
INSERT INTO public.label_chunks VALUES (3, 0, 0, 0, 0, 1, '4b8b8ba14fd2f27c37855756', 8, 3431);
INSERT INTO public.label_chunks VALUES (3, 0, 0, 0, 1, 1, '4b8b8ba14fd2f27c37855756', 3439, 56);
INSERT INTO public.label_chunks VALUES (3, 1, 0, 0, 0, 1, '4b8b8ba14fd2f27c37855756', 3495, 655);
INSERT INTO public.label_chunks VALUES (3, 0, 0, 0, 0, 3, '772613656f7bfa33d0470958', 8, 4248);
INSERT INTO public.label_chunks VALUES (3, 0, 0, 0, 1, 3, '772613656f7bfa33d0470958', 4256, 56);
INSERT INTO public.label_chunks VALUES (3, 1, 0, 0, 0, 3, '772613656f7bfa33d0470958', 4312, 828);
INSERT INTO public.label_chunks VALUES (3, 0, 0, 0, 0, 6, '573c27bf864a7a87c077f435', 8, 408);
INSERT INTO public.label_chunks VALUES (3, 1, 0, 0, 0, 6, '573c27bf864a7a87c077f435', 416, 148);
INSERT INTO public.label_edges VALUES (1, 2, 1, 2, true);
INSERT INTO public.label_edges VALUES (1, 6, 1, 2, false);
INSERT INTO public.label_edges VALUES (1, 7, 1, 3, true);
INSERT INTO public.label_edges VALUES (1, 8, 1, 2, true);
INSERT INTO public.label_edges VALUES (1, 8, 1, 3, false);
INSERT INTO public.label_edges VALUES (1, 10, 1, 3, true);
INSERT INTO public.label_edges VALUES (4, 2, 1, 2, true);
INSERT INTO public.label_edges VALUES (3, 4, 1, 2, true);
INSERT INTO public.label_edges VALUES (4, 5, 1, 2, false);
INSERT INTO public.label_edges VALUES (3, 6, 1, 2, false);
INSERT INTO public.label_members VALUES (1, 2, 2, 1);
INSERT INTO public.label_members VALUES (1, 2, 6, 2);
INSERT INTO public.label_members VALUES (1, 3, 7, 1);
INSERT INTO public.label_members VALUES (1, 2, 8, 1);
INSERT INTO public.label_members VALUES (1, 3, 8, 3);
INSERT INTO public.label_members VALUES (1, 3, 10, 1);
INSERT INTO public.label_members VALUES (4, 2, 2, 1);
INSERT INTO public.label_members VALUES (3, 2, 4, 1);
INSERT INTO public.label_members VALUES (4, 2, 5, 2);
INSERT INTO public.label_members VALUES (3, 2, 6, 2);
INSERT INTO public.label_operations VALUES (1, 1, 1, 0, 'segment', 'ana', '2026-11-23T01:00:11.648+00:00', 'ana-cell', '736b4ffdef30ee64060aa9867866f676', NULL, true, NULL, '{"offset": [0, 0, 0], "shape": [20, 80, 96]}', '{"removed": [], "added": [1, 2, 3], "became": [], "moved": []}', '{"model": "\u00b5-net"}');
INSERT INTO public.label_operations VALUES (1, 2, 1, 1, 'merge', 'bob', '2026-11-23T01:00:11.677+00:00', 'r-merge', 'f8434e526d3f55e8b3194f4cca3e9fe4', NULL, false, NULL, '{"offset": [4, 8, 8], "shape": [12, 12, 52]}', '{"removed": [1, 2], "added": [1], "became": [[1, 1], [2, 1]], "moved": []}', '{"ids": [1, 2]}');
INSERT INTO public.label_operations VALUES (1, 3, 1, 2, 'split', 'ana', '2026-11-23T01:00:11.725+00:00', NULL, '19f75a7406c6cb75707e2243c1005ea1', NULL, true, NULL, '{"offset": [4, 40, 8], "shape": [12, 12, 82]}', '{"removed": [3], "added": [3, 4], "became": [[3, 3], [3, 4]], "moved": [[3, 4]]}', '{"groups": [[[10, 46, 12]], [[10, 46, 86]]]}');
INSERT INTO public.label_operations VALUES (1, 4, 1, 3, 'undo', 'ana', '2026-11-23T01:00:11.751+00:00', NULL, 'a6101c7ebfbe205c85285c8759ed78f5', NULL, true, 3, '{"offset": [4, 40, 8], "shape": [12, 12, 82]}', '{"removed": [3, 4], "added": [3], "became": [[3, 3], [4, 3]], "moved": [[4, 3]]}', '{}');
INSERT INTO public.label_operations VALUES (1, 5, 1, 4, 'redo', 'ana', '2026-11-23T01:00:11.771+00:00', NULL, 'd619962ecb175dd96d213834e83a7655', NULL, true, 4, '{"offset": [4, 40, 8], "shape": [12, 12, 82]}', '{"removed": [3], "added": [3, 4], "became": [[3, 3], [3, 4]], "moved": [[3, 4]]}', '{}');
INSERT INTO public.label_operations VALUES (1, 6, 1, 5, 'undo', 'bob', '2026-11-23T01:00:11.787+00:00', NULL, 'a6101c7ebfbe205c85285c8759ed78f5', NULL, false, 2, '{"offset": [4, 8, 8], "shape": [12, 12, 52]}', '{"removed": [1], "added": [1, 2], "became": [[1, 1], [1, 2]], "moved": []}', '{}');
INSERT INTO public.label_operations VALUES (1, 7, 1, 6, 'merge', 'ana', '2026-11-23T01:00:11.800+00:00', NULL, '9991a0a758a8b0c30643960989fc454b', NULL, false, NULL, '{"offset": [4, 8, 8], "shape": [12, 44, 41]}', '{"removed": [1, 3], "added": [1], "became": [[1, 1], [3, 1]], "moved": []}', '{"points": [[10, 10, 10], [10, 46, 12]]}');
INSERT INTO public.label_operations VALUES (1, 8, 1, 7, 'revert', 'cy', '2026-11-23T01:00:11.813+00:00', NULL, 'a097d1c90304c571c870e04ace594234', NULL, true, NULL, '{"offset": [4, 8, 8], "shape": [12, 44, 82]}', '{"removed": [1, 2, 4], "added": [1, 3], "became": [[1, 1], [1, 3], [2, 1], [4, 3]], "moved": [[3, 4], [4, 3]]}', '{"why": "look"}');
INSERT INTO public.label_operations VALUES (1, 9, 1, 8, 'segment', 'dee', '2026-11-23T01:00:11.849+00:00', 'dee-cell', '736b4ffdef30ee64060aa9867866f676', NULL, true, NULL, '{"offset": [0, 0, 0], "shape": [20, 80, 96]}', '{"removed": [], "added": [5, 6, 7], "became": [], "moved": []}', '{"model": "\u00b5-net"}');
INSERT INTO public.label_operations VALUES (1, 10, 1, 9, 'merge', 'bob', '2026-11-23T01:00:11.860+00:00', NULL, 'fbf5e79b9cca5fbcbb2ee1bb8d87f08b', NULL, false, NULL, '{"offset": [4, 8, 8], "shape": [12, 44, 82]}', '{"removed": [1, 3], "added": [1], "became": [[1, 1], [3, 1]], "moved": []}', '{"ids": [1, 3]}');
INSERT INTO public.label_operations VALUES (2, 1, 2, 0, 'segment', 'ana', '2026-11-23T01:00:11.886+00:00', 'ana-second', '736b4ffdef30ee64060aa9867866f676', NULL, true, NULL, '{"offset": [0, 0, 0], "shape": [20, 80, 96]}', '{"removed": [], "added": [1, 2, 3], "became": [], "moved": []}', '{"model": "\u00b5-net"}');
INSERT INTO public.label_operations VALUES (3, 1, 3, 0, 'segment', 'ana', '2026-11-23T01:00:11.911+00:00', 'ana-branched', '736b4ffdef30ee64060aa9867866f676', NULL, true, NULL, '{"offset": [0, 0, 0], "shape": [20, 80, 96]}', '{"removed": [], "added": [1, 2, 3], "became": [], "moved": []}', '{"model": "\u00b5-net"}');
INSERT INTO public.label_operations VALUES (3, 2, 4, 1, 'merge', 'bob', '2026-11-23T01:00:11.928+00:00', NULL, '5effbe867988079ddf128b877bf0d8d5', NULL, false, NULL, '{"offset": [4, 8, 8], "shape": [12, 12, 52]}', '{"removed": [1, 2], "added": [1], "became": [[1, 1], [2, 1]], "moved": []}', '{"ids": [1, 2]}');
INSERT INTO public.label_operations VALUES (3, 3, 3, 1, 'split', 'ana', '2026-11-23T01:00:11.957+00:00', NULL, '19f75a7406c6cb75707e2243c1005ea1', NULL, true, NULL, '{"offset": [4, 40, 8], "shape": [12, 12, 82]}', '{"removed": [3], "added": [3, 4], "became": [[3, 3], [3, 4]], "moved": [[3, 4]]}', '{"groups": [[[10, 46, 12]], [[10, 46, 86]]]}');
INSERT INTO public.label_operations VALUES (3, 4, 3, 3, 'merge-branch', 'ana', '2026-11-23T01:00:12.004+00:00', NULL, 'c1820589f73a4295cbd55f6cc2a3e3d4', NULL, false, NULL, '{"offset": [4, 8, 40], "shape": [12, 12, 20]}', '{"removed": [1, 2], "added": [1], "became": [[1, 1], [2, 1]], "moved": []}', '{"branch": "review", "version": 2, "applied": [2], "choices": {}}');
INSERT INTO public.label_operations VALUES (3, 5, 4, 2, 'undo', 'bob', '2026-11-23T01:00:12.029+00:00', NULL, 'ec6aa2b2865b11eed2bef21fcec0f012', NULL, false, 2, '{"offset": [4, 8, 8], "shape": [12, 12, 52]}', '{"removed": [1], "added": [1, 2], "became": [[1, 1], [1, 2]], "moved": []}', '{}');
INSERT INTO public.label_operations VALUES (3, 6, 3, 4, 'delete', 'cy', '2026-11-23T01:00:12.055+00:00', NULL, '31468d6ca757f6ae371d21f66b7392d1', NULL, true, NULL, '{"offset": [4, 8, 8], "shape": [12, 12, 52]}', '{"removed": [1], "added": [], "became": [], "moved": []}', '{"ids": ["2"]}');
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
INSERT INTO public.label_roots VALUES (3, 1, 1);
INSERT INTO public.label_roots VALUES (3, 2, 1);
INSERT INTO public.label_roots VALUES (3, 3, 1);
INSERT INTO public.label_roots VALUES (4, 1, 2);
INSERT INTO public.label_roots VALUES (4, 2, 2);
INSERT INTO public.label_roots VALUES (3, 3, 3);
INSERT INTO public.label_roots VALUES (3, 4, 3);
INSERT INTO public.label_roots VALUES (3, 1, 4);
INSERT INTO public.label_roots VALUES (3, 2, 4);
INSERT INTO public.label_roots VALUES (4, 1, 5);
INSERT INTO public.label_roots VALUES (4, 2, 5);
INSERT INTO public.label_roots VALUES (3, 1, 6);
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
INSERT INTO public.label_supervoxels VALUES (3, 1, 1, 3168, 4, 8, 8, 16, 20, 30, 30096, 42768, 58608);
INSERT INTO public.label_supervoxels VALUES (3, 2, 1, 2880, 4, 8, 40, 16, 20, 60, 27360, 38880, 142560);
INSERT INTO public.label_supervoxels VALUES (3, 3, 1, 11808, 4, 40, 8, 16, 52, 90, 112176, 537264, 572688);
INSERT INTO public.label_supervoxels VALUES (3, 3, 3, 5904, 4, 40, 8, 16, 52, 49, 56088, 268632, 165312);
INSERT INTO public.label_supervoxels VALUES (3, 4, 3, 5904, 4, 40, 49, 16, 52, 90, 56088, 268632, 407376);
INSERT INTO public.label_supervoxels VALUES (3, 1, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.label_supervoxels VALUES (3, 2, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.label_tags VALUES (3, 'before', 3, 'ana', '2026-11-23T01:00:11.961+00:00', '');
INSERT INTO public.label_volumes VALUES (1, 'cell', '[[20, 80, 96], [10, 40, 48]]', 10, 8);
INSERT INTO public.label_volumes VALUES (2, 'second', '[[20, 80, 96], [10, 40, 48]]', 1, 4);
INSERT INTO public.label_volumes VALUES (3, 'branched', '[[20, 80, 96], [10, 40, 48]]', 6, 5);
INSERT INTO public.volumes VALUES ('branched', '/data-of-the-release/cell.npz', '/data-of-the-release/data/images/branched.zarr', NULL, '[8.0, 8.0, 8.0]', '{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}', '2026-11-23T01:00:11.539001+00:00');
INSERT INTO public.volumes VALUES ('cell', '/data-of-the-release/cell.npz', '/data-of-the-release/data/images/cell.zarr', NULL, '[8.0, 8.0, 8.0]', '{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}', '2026-11-23T01:00:11.564924+00:00');
INSERT INTO public.volumes VALUES ('second', '/data-of-the-release/cell.npz', '/data-of-the-release/data/images/second.zarr', NULL, '[8.0, 8.0, 8.0]', '{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}', '2026-11-23T01:00:11.586137+00:00');
INSERT INTO public.web_instance VALUES ('d58cb8da');
INSERT INTO public.web_jobs VALUES ('84fe6ee1c0234549a940e2898efb29bd', 'cell', 'segment', 'queued', 0, 'Waiting for a worker', '{"volume": "cell"}', 'ana', '2026-11-23T01:00:12.065419+00:00', '2026-11-23T01:00:12.065419+00:00', 0, false, NULL, NULL, 'job-1', NULL);
INSERT INTO public.web_sessions VALUES ('fe011dc15f357796af3cdb224aa4fc58', 'cell', 'bob', 2, NULL, '{"layers": []}', 'server/b37a37711f03', '2026-11-23T01:00:12.063713+00:00');
INSERT INTO public.web_shares VALUES ('5t9xfdymwz', 'cell', 3, '{"layers": []}', 'ana', '2026-11-23T01:00:12.061711+00:00');
SELECT pg_catalog.setval('public.label_branches_branch_id_seq', 4, true);
SELECT pg_catalog.setval('public.label_volumes_volume_id_seq', 3, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.label_base_blocks
    ADD CONSTRAINT label_base_blocks_pkey PRIMARY KEY (volume_id, number);
ALTER TABLE ONLY public.label_base_blocks
    ADD CONSTRAINT label_base_blocks_volume_id_z_y_x_key UNIQUE (volume_id, z, y, x);
ALTER TABLE ONLY public.label_base_marks
    ADD CONSTRAINT label_base_marks_pkey PRIMARY KEY (volume_id, operation_id);
ALTER TABLE ONLY public.label_base_statistics
    ADD CONSTRAINT label_base_statistics_pkey PRIMARY KEY (volume_id, supervoxel, number);
ALTER TABLE ONLY public.label_bases
    ADD CONSTRAINT label_bases_pkey PRIMARY KEY (volume_id);
ALTER TABLE ONLY public.label_branch_merges
    ADD CONSTRAINT label_branch_merges_pkey PRIMARY KEY (volume_id, operation_id);
ALTER TABLE ONLY public.label_branches
    ADD CONSTRAINT label_branches_pkey PRIMARY KEY (branch_id);
ALTER TABLE ONLY public.label_chunks
    ADD CONSTRAINT label_chunks_pkey PRIMARY KEY (branch_id, level, z, y, x, operation_id);
ALTER TABLE ONLY public.label_edges
    ADD CONSTRAINT label_edges_pkey PRIMARY KEY (branch_id, operation_id, a, b);
ALTER TABLE ONLY public.label_members
    ADD CONSTRAINT label_members_pkey PRIMARY KEY (branch_id, supervoxel, operation_id);
ALTER TABLE ONLY public.label_operations
    ADD CONSTRAINT label_operations_pkey PRIMARY KEY (volume_id, operation_id);
ALTER TABLE ONLY public.label_operations
    ADD CONSTRAINT label_operations_volume_id_request_id_key UNIQUE (volume_id, request_id);
ALTER TABLE ONLY public.label_roots
    ADD CONSTRAINT label_roots_pkey PRIMARY KEY (branch_id, root, operation_id);
ALTER TABLE ONLY public.label_supervoxels
    ADD CONSTRAINT label_supervoxels_pkey PRIMARY KEY (branch_id, supervoxel, operation_id);
ALTER TABLE ONLY public.label_tags
    ADD CONSTRAINT label_tags_pkey PRIMARY KEY (volume_id, name);
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
CREATE INDEX label_base_statistics_by_block ON public.label_base_statistics USING btree (volume_id, number);
CREATE INDEX label_branches_by_volume ON public.label_branches USING btree (volume_id, name);
CREATE INDEX label_chunks_by_operation ON public.label_chunks USING btree (branch_id, operation_id);
CREATE INDEX label_edges_by_a ON public.label_edges USING btree (branch_id, a, b);
CREATE INDEX label_edges_by_b ON public.label_edges USING btree (branch_id, b);
CREATE INDEX label_members_by_operation ON public.label_members USING btree (branch_id, operation_id);
CREATE INDEX label_members_by_root ON public.label_members USING btree (branch_id, root);
CREATE INDEX label_operations_by_time ON public.label_operations USING btree (branch_id, "time");
CREATE INDEX label_operations_by_undoes ON public.label_operations USING btree (volume_id, undoes);
CREATE INDEX label_operations_by_user ON public.label_operations USING btree (branch_id, user_name, operation_id);
CREATE INDEX label_supervoxels_by_box ON public.label_supervoxels USING btree (branch_id, z1, z0, y0, y1, x0, x1);
CREATE INDEX label_supervoxels_by_operation ON public.label_supervoxels USING btree (branch_id, operation_id);
