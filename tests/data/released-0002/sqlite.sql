BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE label_base_blocks (
	volume_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	z INTEGER NOT NULL, 
	y INTEGER NOT NULL, 
	x INTEGER NOT NULL, 
	PRIMARY KEY (volume_id, number), 
	UNIQUE (volume_id, z, y, x)
)
 WITHOUT ROWID

;
CREATE TABLE label_base_marks (
	volume_id INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	counted INTEGER NOT NULL, 
	PRIMARY KEY (volume_id, operation_id)
)
 WITHOUT ROWID

;
CREATE TABLE label_base_statistics (
	volume_id INTEGER NOT NULL, 
	supervoxel INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
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
	PRIMARY KEY (volume_id, supervoxel, number)
)
 WITHOUT ROWID

;
CREATE TABLE label_bases (
	volume_id INTEGER NOT NULL, 
	identity TEXT NOT NULL, 
	block JSON NOT NULL, 
	PRIMARY KEY (volume_id)
)
 WITHOUT ROWID

;
CREATE TABLE label_branch_merges (
	volume_id INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	source_branch INTEGER NOT NULL, 
	source_version INTEGER NOT NULL, 
	skipped JSON NOT NULL, 
	PRIMARY KEY (volume_id, operation_id)
)
 WITHOUT ROWID

;
INSERT INTO "label_branch_merges" VALUES(3,4,4,2,'[]');
CREATE TABLE label_branches (
	branch_id INTEGER NOT NULL, 
	volume_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	parent_id INTEGER, 
	fork_version INTEGER NOT NULL, 
	head INTEGER NOT NULL, 
	user_name TEXT NOT NULL, 
	time TEXT NOT NULL, 
	deleted TEXT, 
	PRIMARY KEY (branch_id)
);
INSERT INTO "label_branches" VALUES(1,1,'main',NULL,0,10,'','2026-11-23T01:00:10.310+00:00',NULL);
INSERT INTO "label_branches" VALUES(2,2,'main',NULL,0,1,'','2026-11-23T01:00:11.084+00:00',NULL);
INSERT INTO "label_branches" VALUES(3,3,'main',NULL,0,6,'','2026-11-23T01:00:11.105+00:00',NULL);
INSERT INTO "label_branches" VALUES(4,3,'review',3,1,5,'bob','2026-11-23T01:00:11.124+00:00',NULL);
CREATE TABLE label_chunks (
	branch_id INTEGER NOT NULL, 
	level INTEGER NOT NULL, 
	z INTEGER NOT NULL, 
	y INTEGER NOT NULL, 
	x INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	pack TEXT, 
	start INTEGER, 
	length INTEGER, 
	PRIMARY KEY (branch_id, level, z, y, x, operation_id)
)
 WITHOUT ROWID

;
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,1,'2468fd88c4dbaa94a359ecbb',8,3431);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,3,'b566ba4ba811d6af7085cf13',8,4248);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,4,'2468fd88c4dbaa94a359ecbb',8,3431);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,5,'b566ba4ba811d6af7085cf13',8,4248);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,8,'2468fd88c4dbaa94a359ecbb',8,3431);
INSERT INTO "label_chunks" VALUES(1,0,0,0,0,9,'401355fb0d8ffbe26f9785a8',8,2325);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,1,'2468fd88c4dbaa94a359ecbb',3439,56);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,3,'b566ba4ba811d6af7085cf13',4256,56);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,4,'2468fd88c4dbaa94a359ecbb',3439,56);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,5,'b566ba4ba811d6af7085cf13',4256,56);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,8,'2468fd88c4dbaa94a359ecbb',3439,56);
INSERT INTO "label_chunks" VALUES(1,0,0,0,1,9,'401355fb0d8ffbe26f9785a8',2333,193);
INSERT INTO "label_chunks" VALUES(1,0,0,1,0,9,'401355fb0d8ffbe26f9785a8',2526,56);
INSERT INTO "label_chunks" VALUES(1,0,0,1,1,9,'401355fb0d8ffbe26f9785a8',2582,56);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,1,'2468fd88c4dbaa94a359ecbb',3495,655);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,3,'b566ba4ba811d6af7085cf13',4312,828);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,4,'2468fd88c4dbaa94a359ecbb',3495,655);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,5,'b566ba4ba811d6af7085cf13',4312,828);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,8,'2468fd88c4dbaa94a359ecbb',3495,655);
INSERT INTO "label_chunks" VALUES(1,1,0,0,0,9,'401355fb0d8ffbe26f9785a8',2638,678);
INSERT INTO "label_chunks" VALUES(2,0,0,0,0,1,'e08567735922bee5c91e1bbb',8,3431);
INSERT INTO "label_chunks" VALUES(2,0,0,0,1,1,'e08567735922bee5c91e1bbb',3439,56);
INSERT INTO "label_chunks" VALUES(2,1,0,0,0,1,'e08567735922bee5c91e1bbb',3495,655);
INSERT INTO "label_chunks" VALUES(3,0,0,0,0,1,'602c6906bc33b9d6f2ba5978',8,3431);
INSERT INTO "label_chunks" VALUES(3,0,0,0,0,3,'7350f4045c10f294ed1f8e4f',8,4248);
INSERT INTO "label_chunks" VALUES(3,0,0,0,0,6,'72f13b9cfffaad92b5b331af',8,408);
INSERT INTO "label_chunks" VALUES(3,0,0,0,1,1,'602c6906bc33b9d6f2ba5978',3439,56);
INSERT INTO "label_chunks" VALUES(3,0,0,0,1,3,'7350f4045c10f294ed1f8e4f',4256,56);
INSERT INTO "label_chunks" VALUES(3,1,0,0,0,1,'602c6906bc33b9d6f2ba5978',3495,655);
INSERT INTO "label_chunks" VALUES(3,1,0,0,0,3,'7350f4045c10f294ed1f8e4f',4312,828);
INSERT INTO "label_chunks" VALUES(3,1,0,0,0,6,'72f13b9cfffaad92b5b331af',416,148);
CREATE TABLE label_edges (
	branch_id INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	a INTEGER NOT NULL, 
	b INTEGER NOT NULL, 
	added BOOLEAN NOT NULL, 
	PRIMARY KEY (branch_id, operation_id, a, b)
)
 WITHOUT ROWID

;
INSERT INTO "label_edges" VALUES(1,2,1,2,1);
INSERT INTO "label_edges" VALUES(1,6,1,2,0);
INSERT INTO "label_edges" VALUES(1,7,1,3,1);
INSERT INTO "label_edges" VALUES(1,8,1,2,1);
INSERT INTO "label_edges" VALUES(1,8,1,3,0);
INSERT INTO "label_edges" VALUES(1,10,1,3,1);
INSERT INTO "label_edges" VALUES(3,4,1,2,1);
INSERT INTO "label_edges" VALUES(3,6,1,2,0);
INSERT INTO "label_edges" VALUES(4,2,1,2,1);
INSERT INTO "label_edges" VALUES(4,5,1,2,0);
CREATE TABLE label_members (
	branch_id INTEGER NOT NULL, 
	supervoxel INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	root INTEGER NOT NULL, 
	PRIMARY KEY (branch_id, supervoxel, operation_id)
)
 WITHOUT ROWID

;
INSERT INTO "label_members" VALUES(1,2,2,1);
INSERT INTO "label_members" VALUES(1,2,8,1);
INSERT INTO "label_members" VALUES(1,3,7,1);
INSERT INTO "label_members" VALUES(1,3,10,1);
INSERT INTO "label_members" VALUES(1,2,6,2);
INSERT INTO "label_members" VALUES(1,3,8,3);
INSERT INTO "label_members" VALUES(3,2,4,1);
INSERT INTO "label_members" VALUES(3,2,6,2);
INSERT INTO "label_members" VALUES(4,2,2,1);
INSERT INTO "label_members" VALUES(4,2,5,2);
CREATE TABLE label_operations (
	volume_id INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	branch_id INTEGER NOT NULL, 
	parent INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	user_name TEXT NOT NULL, 
	time TEXT NOT NULL, 
	request_id TEXT, 
	request_digest TEXT, 
	base_version INTEGER, 
	wrote_voxels BOOLEAN NOT NULL, 
	undoes INTEGER, 
	bbox JSON, 
	lineage JSON NOT NULL, 
	provenance JSON NOT NULL, 
	PRIMARY KEY (volume_id, operation_id), 
	UNIQUE (volume_id, request_id)
)
 WITHOUT ROWID

;
INSERT INTO "label_operations" VALUES(1,1,1,0,'segment','ana','2026-11-23T01:00:10.850+00:00','ana-cell','736b4ffdef30ee64060aa9867866f676',NULL,1,NULL,'{"offset": [0, 0, 0], "shape": [20, 80, 96]}','{"removed": [], "added": [1, 2, 3], "became": [], "moved": []}','{"model": "\u00b5-net"}');
INSERT INTO "label_operations" VALUES(1,2,1,1,'merge','bob','2026-11-23T01:00:10.866+00:00','r-merge','f8434e526d3f55e8b3194f4cca3e9fe4',NULL,0,NULL,'{"offset": [4, 8, 8], "shape": [12, 12, 52]}','{"removed": [1, 2], "added": [1], "became": [[1, 1], [2, 1]], "moved": []}','{"ids": [1, 2]}');
INSERT INTO "label_operations" VALUES(1,3,1,2,'split','ana','2026-11-23T01:00:10.963+00:00',NULL,'19f75a7406c6cb75707e2243c1005ea1',NULL,1,NULL,'{"offset": [4, 40, 8], "shape": [12, 12, 82]}','{"removed": [3], "added": [3, 4], "became": [[3, 3], [3, 4]], "moved": [[3, 4]]}','{"groups": [[[10, 46, 12]], [[10, 46, 86]]]}');
INSERT INTO "label_operations" VALUES(1,4,1,3,'undo','ana','2026-11-23T01:00:10.988+00:00',NULL,'a6101c7ebfbe205c85285c8759ed78f5',NULL,1,3,'{"offset": [4, 40, 8], "shape": [12, 12, 82]}','{"removed": [3, 4], "added": [3], "became": [[3, 3], [4, 3]], "moved": [[4, 3]]}','{}');
INSERT INTO "label_operations" VALUES(1,5,1,4,'redo','ana','2026-11-23T01:00:11.003+00:00',NULL,'d619962ecb175dd96d213834e83a7655',NULL,1,4,'{"offset": [4, 40, 8], "shape": [12, 12, 82]}','{"removed": [3], "added": [3, 4], "became": [[3, 3], [3, 4]], "moved": [[3, 4]]}','{}');
INSERT INTO "label_operations" VALUES(1,6,1,5,'undo','bob','2026-11-23T01:00:11.017+00:00',NULL,'a6101c7ebfbe205c85285c8759ed78f5',NULL,0,2,'{"offset": [4, 8, 8], "shape": [12, 12, 52]}','{"removed": [1], "added": [1, 2], "became": [[1, 1], [1, 2]], "moved": []}','{}');
INSERT INTO "label_operations" VALUES(1,7,1,6,'merge','ana','2026-11-23T01:00:11.027+00:00',NULL,'9991a0a758a8b0c30643960989fc454b',NULL,0,NULL,'{"offset": [4, 8, 8], "shape": [12, 44, 41]}','{"removed": [1, 3], "added": [1], "became": [[1, 1], [3, 1]], "moved": []}','{"points": [[10, 10, 10], [10, 46, 12]]}');
INSERT INTO "label_operations" VALUES(1,8,1,7,'revert','cy','2026-11-23T01:00:11.036+00:00',NULL,'a097d1c90304c571c870e04ace594234',NULL,1,NULL,'{"offset": [4, 8, 8], "shape": [12, 44, 82]}','{"removed": [1, 2, 4], "added": [1, 3], "became": [[1, 1], [1, 3], [2, 1], [4, 3]], "moved": [[3, 4], [4, 3]]}','{"why": "look"}');
INSERT INTO "label_operations" VALUES(1,9,1,8,'segment','dee','2026-11-23T01:00:11.071+00:00','dee-cell','736b4ffdef30ee64060aa9867866f676',NULL,1,NULL,'{"offset": [0, 0, 0], "shape": [20, 80, 96]}','{"removed": [], "added": [5, 6, 7], "became": [], "moved": []}','{"model": "\u00b5-net"}');
INSERT INTO "label_operations" VALUES(1,10,1,9,'merge','bob','2026-11-23T01:00:11.079+00:00',NULL,'fbf5e79b9cca5fbcbb2ee1bb8d87f08b',NULL,0,NULL,'{"offset": [4, 8, 8], "shape": [12, 44, 82]}','{"removed": [1, 3], "added": [1], "became": [[1, 1], [3, 1]], "moved": []}','{"ids": [1, 3]}');
INSERT INTO "label_operations" VALUES(2,1,2,0,'segment','ana','2026-11-23T01:00:11.102+00:00','ana-second','736b4ffdef30ee64060aa9867866f676',NULL,1,NULL,'{"offset": [0, 0, 0], "shape": [20, 80, 96]}','{"removed": [], "added": [1, 2, 3], "became": [], "moved": []}','{"model": "\u00b5-net"}');
INSERT INTO "label_operations" VALUES(3,1,3,0,'segment','ana','2026-11-23T01:00:11.121+00:00','ana-branched','736b4ffdef30ee64060aa9867866f676',NULL,1,NULL,'{"offset": [0, 0, 0], "shape": [20, 80, 96]}','{"removed": [], "added": [1, 2, 3], "became": [], "moved": []}','{"model": "\u00b5-net"}');
INSERT INTO "label_operations" VALUES(3,2,4,1,'merge','bob','2026-11-23T01:00:11.131+00:00',NULL,'5effbe867988079ddf128b877bf0d8d5',NULL,0,NULL,'{"offset": [4, 8, 8], "shape": [12, 12, 52]}','{"removed": [1, 2], "added": [1], "became": [[1, 1], [2, 1]], "moved": []}','{"ids": [1, 2]}');
INSERT INTO "label_operations" VALUES(3,3,3,1,'split','ana','2026-11-23T01:00:11.151+00:00',NULL,'19f75a7406c6cb75707e2243c1005ea1',NULL,1,NULL,'{"offset": [4, 40, 8], "shape": [12, 12, 82]}','{"removed": [3], "added": [3, 4], "became": [[3, 3], [3, 4]], "moved": [[3, 4]]}','{"groups": [[[10, 46, 12]], [[10, 46, 86]]]}');
INSERT INTO "label_operations" VALUES(3,4,3,3,'merge-branch','ana','2026-11-23T01:00:11.177+00:00',NULL,'c1820589f73a4295cbd55f6cc2a3e3d4',NULL,0,NULL,'{"offset": [4, 8, 40], "shape": [12, 12, 20]}','{"removed": [1, 2], "added": [1], "became": [[1, 1], [2, 1]], "moved": []}','{"branch": "review", "version": 2, "applied": [2], "choices": {}}');
INSERT INTO "label_operations" VALUES(3,5,4,2,'undo','bob','2026-11-23T01:00:11.192+00:00',NULL,'ec6aa2b2865b11eed2bef21fcec0f012',NULL,0,2,'{"offset": [4, 8, 8], "shape": [12, 12, 52]}','{"removed": [1], "added": [1, 2], "became": [[1, 1], [1, 2]], "moved": []}','{}');
INSERT INTO "label_operations" VALUES(3,6,3,4,'delete','cy','2026-11-23T01:00:11.213+00:00',NULL,'31468d6ca757f6ae371d21f66b7392d1',NULL,1,NULL,'{"offset": [4, 8, 8], "shape": [12, 12, 52]}','{"removed": [1], "added": [], "became": [], "moved": []}','{"ids": ["2"]}');
CREATE TABLE label_roots (
	branch_id INTEGER NOT NULL, 
	root INTEGER NOT NULL, 
	operation_id INTEGER NOT NULL, 
	PRIMARY KEY (branch_id, root, operation_id)
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
INSERT INTO "label_roots" VALUES(3,1,1);
INSERT INTO "label_roots" VALUES(3,1,4);
INSERT INTO "label_roots" VALUES(3,1,6);
INSERT INTO "label_roots" VALUES(3,2,1);
INSERT INTO "label_roots" VALUES(3,2,4);
INSERT INTO "label_roots" VALUES(3,3,1);
INSERT INTO "label_roots" VALUES(3,3,3);
INSERT INTO "label_roots" VALUES(3,4,3);
INSERT INTO "label_roots" VALUES(4,1,2);
INSERT INTO "label_roots" VALUES(4,1,5);
INSERT INTO "label_roots" VALUES(4,2,2);
INSERT INTO "label_roots" VALUES(4,2,5);
CREATE TABLE label_supervoxels (
	branch_id INTEGER NOT NULL, 
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
	PRIMARY KEY (branch_id, supervoxel, operation_id)
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
INSERT INTO "label_supervoxels" VALUES(3,1,1,3168,4,8,8,16,20,30,30096,42768,58608);
INSERT INTO "label_supervoxels" VALUES(3,1,6,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "label_supervoxels" VALUES(3,2,1,2880,4,8,40,16,20,60,27360,38880,142560);
INSERT INTO "label_supervoxels" VALUES(3,2,6,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "label_supervoxels" VALUES(3,3,1,11808,4,40,8,16,52,90,112176,537264,572688);
INSERT INTO "label_supervoxels" VALUES(3,3,3,5904,4,40,8,16,52,49,56088,268632,165312);
INSERT INTO "label_supervoxels" VALUES(3,4,3,5904,4,40,49,16,52,90,56088,268632,407376);
CREATE TABLE label_tags (
	volume_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	user_name TEXT NOT NULL, 
	time TEXT NOT NULL, 
	note TEXT NOT NULL, 
	PRIMARY KEY (volume_id, name)
)
 WITHOUT ROWID

;
INSERT INTO "label_tags" VALUES(3,'before',3,'ana','2026-11-23T01:00:11.154+00:00','');
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
INSERT INTO "label_volumes" VALUES(3,'branched','[[20, 80, 96], [10, 40, 48]]',6,5);
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
INSERT INTO "volumes" VALUES('branched','/data-of-the-release/cell.npz','/data-of-the-release/data/images/branched.zarr',NULL,'[8.0, 8.0, 8.0]','{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}','2026-11-23T01:00:10.268619+00:00');
INSERT INTO "volumes" VALUES('cell','/data-of-the-release/cell.npz','/data-of-the-release/data/images/cell.zarr',NULL,'[8.0, 8.0, 8.0]','{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}','2026-11-23T01:00:10.288666+00:00');
INSERT INTO "volumes" VALUES('second','/data-of-the-release/cell.npz','/data-of-the-release/data/images/second.zarr',NULL,'[8.0, 8.0, 8.0]','{"dtype": "uint8", "levels": [{"level": 0, "voxel_size": [8.0, 8.0, 8.0], "shape": [20, 80, 96]}, {"level": 1, "voxel_size": [16.0, 16.0, 16.0], "shape": [10, 40, 48]}], "contrast": {"mean": 128.0, "std": 1.0, "low": 128.0, "high": 129.0}, "voxel_size_is_assumed": false}','2026-11-23T01:00:10.306149+00:00');
CREATE TABLE web_dispatchers (
	name TEXT NOT NULL, 
	seen FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE web_instance (
	name TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "web_instance" VALUES('82d5b9dc');
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
INSERT INTO "web_jobs" VALUES('51b95bab930b4a49a19c55f910d92bef','cell','segment','queued',0.0,'Waiting for a worker','{"volume": "cell"}','ana','2026-11-23T01:00:11.219411+00:00','2026-11-23T01:00:11.219411+00:00',0,0,NULL,NULL,'job-1',NULL);
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
INSERT INTO "web_sessions" VALUES('423f8e79ceb8aea43e4f76b994b326e6','cell','bob',2,NULL,'{"layers": []}','server/a76316ef82e4','2026-11-23T01:00:11.218256+00:00');
CREATE TABLE web_shares (
	share_id TEXT NOT NULL, 
	volume TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	view_state TEXT NOT NULL, 
	user TEXT NOT NULL, 
	created TEXT NOT NULL, 
	PRIMARY KEY (share_id)
);
INSERT INTO "web_shares" VALUES('4etzg4zwvh','cell',3,'{"layers": []}','ana','2026-11-23T01:00:11.216633+00:00');
CREATE INDEX ix_web_jobs_state ON web_jobs (state);
CREATE INDEX label_branches_by_volume ON label_branches (volume_id, name);
CREATE INDEX label_operations_by_time ON label_operations (branch_id, time);
CREATE INDEX label_operations_by_undoes ON label_operations (volume_id, undoes);
CREATE INDEX label_operations_by_user ON label_operations (branch_id, user_name, operation_id);
CREATE INDEX label_chunks_by_operation ON label_chunks (branch_id, operation_id);
CREATE INDEX label_edges_by_a ON label_edges (branch_id, a, b);
CREATE INDEX label_edges_by_b ON label_edges (branch_id, b);
CREATE INDEX label_supervoxels_by_box ON label_supervoxels (branch_id, z1, z0, y0, y1, x0, x1);
CREATE INDEX label_supervoxels_by_operation ON label_supervoxels (branch_id, operation_id);
CREATE INDEX label_members_by_operation ON label_members (branch_id, operation_id);
CREATE INDEX label_members_by_root ON label_members (branch_id, root);
CREATE INDEX label_base_statistics_by_block ON label_base_statistics (volume_id, number);
COMMIT;
