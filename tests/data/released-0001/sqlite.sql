BEGIN TRANSACTION;
CREATE TABLE label_chunks (
	volume_id INTEGER NOT NULL, 
	level INTEGER NOT NULL, 
	z INTEGER NOT NULL, 
	y INTEGER NOT NULL, 
	x INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	pack TEXT, 
	start INTEGER, 
	length INTEGER, 
	PRIMARY KEY (volume_id, level, z, y, x, operation_id)
)
 WITHOUT ROWID

;
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,1,'fc344580c257a4de8071742d',8,6572);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,3,'e18cbd610dcd470f72a194b7',8,7472);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,4,'fc344580c257a4de8071742d',8,6572);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,5,'e18cbd610dcd470f72a194b7',8,7472);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,8,'fc344580c257a4de8071742d',8,6572);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,9,'36674a9dbe847da4e492c72d',8,13744);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,1,'fc344580c257a4de8071742d',6580,1000);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,3,'e18cbd610dcd470f72a194b7',7480,1000);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,4,'fc344580c257a4de8071742d',6580,1000);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,5,'e18cbd610dcd470f72a194b7',7480,1000);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,8,'fc344580c257a4de8071742d',6580,1000);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,9,'36674a9dbe847da4e492c72d',13752,1975);
INSERT INTO "label_chunks" VALUES(1,0,0,1,0,9,'36674a9dbe847da4e492c72d',15727,1410);
INSERT INTO "label_chunks" VALUES(1,0,0,1,1,9,'36674a9dbe847da4e492c72d',17137,690);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,1,'fc344580c257a4de8071742d',7580,1109);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,3,'e18cbd610dcd470f72a194b7',8480,1294);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,4,'fc344580c257a4de8071742d',7580,1109);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,5,'e18cbd610dcd470f72a194b7',8480,1294);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,8,'fc344580c257a4de8071742d',7580,1109);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,9,'36674a9dbe847da4e492c72d',17827,2711);
INSERT INTO "label_chunks" VALUES(2,0,0,0,0,1,'0c6a6fc3537232620d7c3888',8,6572);
INSERT INTO "label_chunks" VALUES(2,0,0,0,1,1,'0c6a6fc3537232620d7c3888',6580,1000);
INSERT INTO "label_chunks" VALUES(2,1,0,0,0,1,'0c6a6fc3537232620d7c3888',7580,1109);
CREATE TABLE label_edges (
	volume_id INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	a INTEGER NOT NULL, 
	b INTEGER NOT NULL, 
	added BOOLEAN NOT NULL, 
	PRIMARY KEY (volume_id, operation_id, a, b)
)
 WITHOUT ROWID

;
INSERT INTO "label_edges" VALUES(1,2,1,2,1);
INSERT INTO "label_edges" VALUES(1,6,1,2,0);
INSERT INTO "label_edges" VALUES(1,7,1,3,1);
INSERT INTO "label_edges" VALUES(1,8,1,2,1);
INSERT INTO "label_edges" VALUES(1,8,1,3,0);
INSERT INTO "label_edges" VALUES(1,10,1,3,1);
CREATE TABLE label_operations (
	volume_id INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	user_name TEXT NOT NULL, 
	time TEXT NOT NULL, 
	request_id TEXT, 
	request_digest TEXT, 
	base_version INTEGER, 
	wrote_voxels BOOLEAN NOT NULL, 
	undoes INTEGER, 
	undone_by INTEGER, 
	bbox JSON, 
	lineage JSON NOT NULL, 
	provenance JSON NOT NULL, 
	PRIMARY KEY (volume_id, operation_id), 
	UNIQUE (volume_id, request_id)
)
 WITHOUT ROWID

;
INSERT INTO "label_operations" VALUES(1,1,'segment','ana','2026-11-22T22:05:05.246+00:00','ana-cell','736b4ffdef30ee64060aa9867866f676',NULL,1,NULL,NULL,'{"offset": [0, 0, 0], "shape": [20, 80, 96]}','{"removed": [], "added": [1, 2, 3], "merges": [], "splits": [], "moved": []}','{"model": "\u00b5-net"}');
INSERT INTO "label_operations" VALUES(1,2,'merge','bob','2026-11-22T22:05:05.268+00:00','r-merge','f8434e526d3f55e8b3194f4cca3e9fe4',NULL,0,NULL,6,'{"offset": [4, 8, 8], "shape": [12, 12, 52]}','{"removed": [1, 2], "added": [1], "merges": [[1, 2]], "splits": [], "moved": []}','{}');
INSERT INTO "label_operations" VALUES(1,3,'split','ana','2026-11-22T22:05:05.388+00:00',NULL,'19f75a7406c6cb75707e2243c1005ea1',NULL,1,NULL,NULL,'{"offset": [4, 40, 8], "shape": [12, 12, 82]}','{"removed": [3], "added": [3, 4], "merges": [], "splits": [[3, [3, 4]]], "moved": [[3, 4]]}','{}');
INSERT INTO "label_operations" VALUES(1,4,'undo','ana','2026-11-22T22:05:05.429+00:00',NULL,'a6101c7ebfbe205c85285c8759ed78f5',NULL,1,3,5,'{"offset": [4, 40, 8], "shape": [12, 12, 82]}','{"removed": [3, 4], "added": [3], "merges": [[3, 4]], "splits": [], "moved": [[4, 3]]}','{}');
INSERT INTO "label_operations" VALUES(1,5,'redo','ana','2026-11-22T22:05:05.479+00:00',NULL,'d619962ecb175dd96d213834e83a7655',NULL,1,4,NULL,'{"offset": [4, 40, 8], "shape": [12, 12, 82]}','{"removed": [3], "added": [3, 4], "merges": [], "splits": [[3, [3, 4]]], "moved": [[3, 4]]}','{}');
INSERT INTO "label_operations" VALUES(1,6,'undo','bob','2026-11-22T22:05:05.512+00:00',NULL,'a6101c7ebfbe205c85285c8759ed78f5',NULL,0,2,NULL,'{"offset": [4, 8, 8], "shape": [12, 12, 52]}','{"removed": [1], "added": [1, 2], "merges": [], "splits": [[1, [1, 2]]], "moved": []}','{}');
INSERT INTO "label_operations" VALUES(1,7,'merge','ana','2026-11-22T22:05:05.534+00:00',NULL,'9991a0a758a8b0c30643960989fc454b',NULL,0,NULL,NULL,'{"offset": [4, 8, 8], "shape": [12, 44, 41]}','{"removed": [1, 3], "added": [1], "merges": [[1, 3]], "splits": [], "moved": []}','{}');
INSERT INTO "label_operations" VALUES(1,8,'revert','cy','2026-11-22T22:05:05.558+00:00',NULL,'a097d1c90304c571c870e04ace594234',NULL,1,NULL,NULL,'{"offset": [4, 8, 8], "shape": [12, 44, 82]}','{"removed": [1, 2, 4], "added": [1, 3], "merges": [[1, 2], [1, 4]], "splits": [[1, [1, 3]]], "moved": [[3, 4], [4, 3]]}','{"why": "look"}');
INSERT INTO "label_operations" VALUES(1,9,'segment','dee','2026-11-22T22:05:05.619+00:00','dee-cell','736b4ffdef30ee64060aa9867866f676',NULL,1,NULL,NULL,'{"offset": [0, 0, 0], "shape": [20, 80, 96]}','{"removed": [], "added": [5, 6, 7], "merges": [], "splits": [], "moved": []}','{"model": "\u00b5-net"}');
INSERT INTO "label_operations" VALUES(1,10,'merge','bob','2026-11-22T22:05:05.634+00:00',NULL,'fbf5e79b9cca5fbcbb2ee1bb8d87f08b',NULL,0,NULL,NULL,'{"offset": [4, 8, 8], "shape": [12, 44, 82]}','{"removed": [1, 3], "added": [1], "merges": [[1, 3]], "splits": [], "moved": []}','{}');
INSERT INTO "label_operations" VALUES(2,1,'segment','ana','2026-11-22T22:05:05.682+00:00','ana-second','736b4ffdef30ee64060aa9867866f676',NULL,1,NULL,NULL,'{"offset": [0, 0, 0], "shape": [20, 80, 96]}','{"removed": [], "added": [1, 2, 3], "merges": [], "splits": [], "moved": []}','{"model": "\u00b5-net"}');
CREATE TABLE label_roots (
	volume_id INTEGER NOT NULL, 
	root INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	PRIMARY KEY (volume_id, root, operation_id)
)
 WITHOUT ROWID

;
INSERT INTO "label_roots" VALUES(1,1,1);
INSERT INTO "label_roots" VALUES(1,1,2);
INSERT INTO "label_roots" VALUES(1,1,6);
INSERT INTO "label_roots" VALUES(1,1,7);
INSERT INTO "label_roots" VALUES(1,1,8);
INSERT INTO "label_roots" VALUES(1,1,10);
INSERT INTO "label_roots" VALUES(1,2,1);
INSERT INTO "label_roots" VALUES(1,2,2);
INSERT INTO "label_roots" VALUES(1,2,6);
INSERT INTO "label_roots" VALUES(1,2,8);
INSERT INTO "label_roots" VALUES(1,3,1);
INSERT INTO "label_roots" VALUES(1,3,3);
INSERT INTO "label_roots" VALUES(1,3,4);
INSERT INTO "label_roots" VALUES(1,3,5);
INSERT INTO "label_roots" VALUES(1,3,7);
INSERT INTO "label_roots" VALUES(1,3,8);
INSERT INTO "label_roots" VALUES(1,3,10);
INSERT INTO "label_roots" VALUES(1,4,3);
INSERT INTO "label_roots" VALUES(1,4,4);
INSERT INTO "label_roots" VALUES(1,4,5);
INSERT INTO "label_roots" VALUES(1,4,8);
INSERT INTO "label_roots" VALUES(1,5,9);
INSERT INTO "label_roots" VALUES(1,6,9);
INSERT INTO "label_roots" VALUES(1,7,9);
INSERT INTO "label_roots" VALUES(2,1,1);
INSERT INTO "label_roots" VALUES(2,2,1);
INSERT INTO "label_roots" VALUES(2,3,1);
CREATE TABLE label_supervoxels (
	volume_id INTEGER NOT NULL, 
	supervoxel INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	voxels INTEGER NOT NULL, 
	z0 INTEGER NOT NULL, 
	y0 INTEGER NOT NULL, 
	x0 INTEGER NOT NULL, 
	z1 INTEGER NOT NULL, 
	y1 INTEGER NOT NULL, 
	x1 INTEGER NOT NULL, 
	sum_z INTEGER NOT NULL, 
	sum_y INTEGER NOT NULL, 
	sum_x INTEGER NOT NULL, 
	PRIMARY KEY (volume_id, supervoxel, operation_id)
)
 WITHOUT ROWID

;
INSERT INTO "label_supervoxels" VALUES(1,1,1,3168,4,8,8,16,20,30,30096,42768,58608);
INSERT INTO "label_supervoxels" VALUES(1,2,1,2880,4,8,40,16,20,60,27360,38880,142560);
INSERT INTO "label_supervoxels" VALUES(1,3,1,11808,4,40,8,16,52,90,112176,537264,572688);
INSERT INTO "label_supervoxels" VALUES(1,3,3,5904,4,40,8,16,52,49,56088,268632,165312);
INSERT INTO "label_supervoxels" VALUES(1,3,4,11808,4,40,8,16,52,90,112176,537264,572688);
INSERT INTO "label_supervoxels" VALUES(1,3,5,5904,4,40,8,16,52,49,56088,268632,165312);
INSERT INTO "label_supervoxels" VALUES(1,3,8,11808,4,40,8,16,52,90,112176,537264,572688);
INSERT INTO "label_supervoxels" VALUES(1,4,3,5904,4,40,49,16,52,90,56088,268632,407376);
INSERT INTO "label_supervoxels" VALUES(1,4,4,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "label_supervoxels" VALUES(1,4,5,5904,4,40,49,16,52,90,56088,268632,407376);
INSERT INTO "label_supervoxels" VALUES(1,4,8,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "label_supervoxels" VALUES(1,5,9,3168,4,28,8,16,40,30,30096,106128,58608);
INSERT INTO "label_supervoxels" VALUES(1,6,9,2880,4,28,40,16,40,60,27360,96480,142560);
INSERT INTO "label_supervoxels" VALUES(1,7,9,11808,4,60,8,16,72,90,112176,773424,572688);
INSERT INTO "label_supervoxels" VALUES(2,1,1,3168,4,8,8,16,20,30,30096,42768,58608);
INSERT INTO "label_supervoxels" VALUES(2,2,1,2880,4,8,40,16,20,60,27360,38880,142560);
INSERT INTO "label_supervoxels" VALUES(2,3,1,11808,4,40,8,16,52,90,112176,537264,572688);
CREATE TABLE label_volumes (
	volume_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	shapes JSON NOT NULL, 
	head INTEGER NOT NULL, 
	next_id INTEGER NOT NULL, 
	PRIMARY KEY (volume_id), 
	UNIQUE (name)
);
INSERT INTO "label_volumes" VALUES(1,'cell','[[20, 80, 96], [10, 40, 48]]',10,8);
INSERT INTO "label_volumes" VALUES(2,'second','[[20, 80, 96], [10, 40, 48]]',1,4);
CREATE TABLE volumes (
	name TEXT NOT NULL, 
	source TEXT NOT NULL, 
	image TEXT NOT NULL, 
	dataset TEXT, 
	voxel_size TEXT, 
	about TEXT NOT NULL, 
	created TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "volumes" VALUES('cell','/data-of-the-release/cell.npz','/data-of-the-release/data/images/cell.zarr',NULL,'[8.0, 8.0, 8.0]','{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}','2026-11-22T22:05:04.334934+00:00');
INSERT INTO "volumes" VALUES('second','/data-of-the-release/cell.npz','/data-of-the-release/data/images/second.zarr',NULL,'[8.0, 8.0, 8.0]','{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}','2026-11-22T22:05:04.378559+00:00');
CREATE TABLE web_dispatchers (
	name TEXT NOT NULL, 
	seen FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE web_instance (
	name TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "web_instance" VALUES('bbdb545d');
CREATE TABLE web_jobs (
	job_id TEXT NOT NULL, 
	volume TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	state TEXT NOT NULL, 
	progress FLOAT NOT NULL, 
	message TEXT NOT NULL, 
	"plan" TEXT NOT NULL, 
	user TEXT NOT NULL, 
	created TEXT NOT NULL, 
	updated TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	cancel_requested BOOLEAN NOT NULL, 
	operation_id INTEGER, 
	error TEXT, 
	request_id TEXT, 
	dispatcher TEXT, 
	PRIMARY KEY (job_id), 
	UNIQUE (volume, request_id)
);
INSERT INTO "web_jobs" VALUES('8516617f268948f5904e7609e9db71bc','cell','segment','queued',0.0,'Waiting for a worker','{"volume": "cell"}','ana','2026-11-22T22:05:05.697858+00:00','2026-11-22T22:05:05.697858+00:00',0,0,NULL,NULL,'job-1',NULL);
CREATE TABLE web_sessions (
	token TEXT NOT NULL, 
	volume TEXT NOT NULL, 
	user TEXT NOT NULL, 
	pinned_version INTEGER, 
	share_id TEXT, 
	view_state TEXT NOT NULL, 
	generation TEXT NOT NULL, 
	created TEXT NOT NULL, 
	PRIMARY KEY (token)
);
INSERT INTO "web_sessions" VALUES('cd0b2d45dcc3be08fd98575c2de9208d','cell','bob',2,NULL,'{"layers": []}','server/ca2bb8095d44','2026-11-22T22:05:05.693497+00:00');
CREATE TABLE web_shares (
	share_id TEXT NOT NULL, 
	volume TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	view_state TEXT NOT NULL, 
	user TEXT NOT NULL, 
	created TEXT NOT NULL, 
	PRIMARY KEY (share_id)
);
INSERT INTO "web_shares" VALUES('9v3fsypzg3','cell',3,'{"layers": []}','ana','2026-11-22T22:05:05.690088+00:00');
CREATE INDEX ix_web_jobs_state ON web_jobs (state);
CREATE INDEX label_operations_by_user ON label_operations (volume_id, user_name, operation_id);
CREATE INDEX label_chunks_by_operation ON label_chunks (volume_id, operation_id);
CREATE INDEX label_edges_by_b ON label_edges (volume_id, b);
CREATE INDEX label_edges_by_a ON label_edges (volume_id, a, b);
CREATE INDEX label_supervoxels_by_operation ON label_supervoxels (volume_id, operation_id);
CREATE INDEX label_supervoxels_by_box ON label_supervoxels (volume_id, z1, z0, y0, y1, x0, x1);
COMMIT;
